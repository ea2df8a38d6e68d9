"""Validation finds the same whatever its images come out of."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from distill.data.disk_cache import DiskCache
from distill.models.yolov5 import build, model_spec
from distill.training.validation import Validation
from edgestill.dataset import Dataset
from runtime.letterbox import Letterbox

HWS = ((90, 160), (400, 300), (333, 401))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Three images of different shapes with a box each."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for i, hw in enumerate(HWS):
        image = np.random.default_rng(i).integers(0, 255, (*hw, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"images/{i}.jpg"), image)
        (tmp_path / f"labels/{i}.txt").write_text("1 .5 .25 .1 .2\n")
    (tmp_path / "data.yaml").write_text("val: images\nnames: [red, green]\n")
    return Dataset.open(tmp_path / "data.yaml")


def test_caches_change_nothing(dataset: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build("n", 2)
    contract = model_spec(model, dataset.classes, (96, 160))

    def validated(cache_mib: int, disk: DiskCache | None) -> Validation:
        return Validation([dataset], contract, cache_mib=cache_mib, threads=2, disk=disk)

    plain = validated(0, None)
    assert plain.image_hws == list(HWS)
    np.testing.assert_allclose([t.xyxy[0] for t in plain.truths], [_box(hw) for hw in HWS], rtol=1e-5)
    wanted = plain.detections(model)
    assert sum(len(found.score) for found in wanted) > 0
    others = [
        validated(1, None),
        *(validated(0, DiskCache(tmp_path / "cache", 9, spare_mib=0)) for _ in range(2)),
    ]
    for other in others:
        assert other.image_hws == plain.image_hws
        for one, two in zip(wanted, other.detections(model), strict=True):
            np.testing.assert_array_equal(one.xyxy, two.xyxy)
            np.testing.assert_array_equal(one.score, two.score)


def _box(hw: tuple[int, int]) -> list[float]:
    return [0.45 * hw[1], 0.15 * hw[0], 0.55 * hw[1], 0.35 * hw[0]]


def test_an_image_that_was_scaled_needs_its_border_only() -> None:
    random = np.random.default_rng(0)
    for source in random.integers(1, 3000, (2000, 2)).tolist():
        fit = Letterbox.fit((source[0], source[1]), (384, 640))
        height, width = (max(1, round(side * fit.scale)) for side in source)
        again = Letterbox.fit((height, width), (384, 640))
        assert (again.scale, again.pad_xy) == (1.0, fit.pad_xy)
