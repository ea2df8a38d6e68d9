"""A training for a model that is deployed with tiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill import train
from distill.checkpoints import native
from distill.recipe import Recipe
from distill.recipe_toml import build_recipe
from distill.training.torch_detector import TorchDetector
from distill.training.validation import Validation
from edgestill.dataset import Dataset
from edgestill.errors import UsageError
from runtime.metrics.evaluate import EVAL_CONF, EVAL_IOU, evaluate
from runtime.tiling import TiledDetector, Tiling

TILING = Tiling(columns=2, rows=2, overlap=0.2)


@pytest.mark.usefixtures("undrawn")
def test_windows_are_cut_at_the_scale_of_a_tile_and_validation_looks_at_tiles(
    plain: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    class Images(train.TrainingImages):
        def __getitem__(self, index: int) -> Any:
            sample = super().__getitem__(index)
            seen["hw"] = sample.image_bgr.shape[:2]
            return sample

    class Scored(Validation):
        def _tiled_detections(self, model: Any) -> Any:
            seen["tiles"] = str(self._tiling)
            return super()._tiled_detections(model)

    monkeypatch.setattr(train, "TrainingImages", Images)
    monkeypatch.setattr(train, "Validation", Scored)
    train.train(replace(plain, tiling=TILING), tmp_path / "run")
    # Images of 90 x 160, which a tile shows 1.8 times as large as an input of 96 x 160: 162 x 288, less a
    # step of 32 pixels that the input size is rounded to.
    assert seen == {"hw": (160, 284), "tiles": "2x2"}


@pytest.mark.slow
def test_validation_in_tiles_is_the_evaluation_tiled_detections(data: Path, teacher: Path) -> None:
    model, contract, _ = native.load(teacher)
    dataset = Dataset.open(data)
    detector = TorchDetector(model, contract, conf=EVAL_CONF, iou=EVAL_IOU, multi_label=True)
    wanted = evaluate(TiledDetector(detector, TILING), dataset, "val")
    found = Validation([dataset], contract, cache_mib=1, threads=2, tiling=TILING)(model)
    assert (found.map50, found.map50_95) == (wanted.map50, wanted.map50_95)


def test_a_recipe_names_its_tiles() -> None:
    recipe = build_recipe("x", {"tiling": {"columns": 2, "rows": 2}})
    assert recipe.tiling == TILING
    assert recipe.to_json()["tiling"] == {"columns": 2, "rows": 2, "overlap": 0.2}
    with pytest.raises(UsageError, match="grid of 0x1"):
        build_recipe("x", {"tiling": {"columns": 0}})
    with pytest.raises(UsageError, match="width"):
        build_recipe("x", {"tiling": {"width": 2}})
