"""Counts of what a detector finds, by source."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.dataset import Dataset
from edgestill.detections import Detections
from edgestill.spec import ModelSpec
from runtime.metrics.found import Found, found_by_source

CLASSES = ("red", "yellow", "green")
#: Boxes as x1, y1, x2, y2 and class by the grey level of the image that they are reported in.
REPORTED = {
    10: [(10, 10, 20, 30, 0), (40, 10, 50, 30, 2)],  # the right class, and red taken for green
    20: [(11, 10, 21, 30, 1), (60, 60, 70, 80, 0)],  # red taken for yellow, and something that is nothing
    30: [],
}


class ByGreyLevel:
    """Reports the boxes of ``REPORTED``."""

    spec = ModelSpec(name="standin", input_hw=(32, 32), classes=CLASSES)

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        rows = np.array(REPORTED[int(image_bgr[0, 0, 0])], np.float32).reshape(-1, 5)
        return Detections(
            xyxy=rows[:, :4], score=np.full(len(rows), 0.3, np.float32), class_id=rows[:, 4].astype(np.int64)
        )


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    red, second = "0 0.15 0.2 0.1 0.2\n", "0 0.45 0.2 0.1 0.2\n"
    for name, level, text in (("a_1", 10, red + second), ("b_1", 20, red), ("b_2", 30, red), ("b_3", 30, "")):
        for kind in ("images", "labels"):
            (tmp_path / kind / "test").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f"images/test/{name}.png"), np.full((100, 100, 3), level, np.uint8))
        (tmp_path / f"labels/test/{name}.txt").write_text(text)
    (tmp_path / "data.yaml").write_text(f"test: images/test\nnames: [{', '.join(CLASSES)}]\n")
    return Dataset.open(tmp_path / "data.yaml")


def test_counts_are_kept_by_source(dataset: Dataset) -> None:
    counts = found_by_source(ByGreyLevel(), [dataset], ["train", "test"])
    assert counts == {
        "a": Found(images=1, labels=2, found=2, right=1, opposite=1),
        "b": Found(images=3, labels=2, found=1, right=0, false=1),
    }
    assert sum(counts.values(), start=Found()) == Found(
        images=4, labels=4, found=3, right=1, opposite=1, false=1
    )
