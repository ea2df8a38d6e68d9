"""Studies without training: cells whose detections are made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from distill.study.cell import cell_description
from distill.study.grid import Cell, Study
from distill.study.process import CELL, DETECTIONS, SCORE
from distill.study.scoring import SplitDetections, save_detections, score_values
from edgestill.detections import Detections
from edgestill.files import write_json
from edgestill.history import write_history
from runtime.metrics.coco import Truth
from runtime.metrics.evaluate import score_images

CLASSES = ("red", "yellow", "green", "off")
HW = (200, 200)


def _finish(cell: Cell, study: Study, out: Path, detections: SplitDetections) -> dict[str, Any]:
    """Leave behind what a trained and scored cell leaves; gives its score."""
    folder = out / cell.folder
    paths = [Path(name) for name in detections.images]
    accuracy = score_images(
        paths, detections.predictions, detections.truths, detections.classes, detections.image_hws
    )
    score = {
        **{key: getattr(cell, key) for key in ("arm", "teacher", "student", "seed")},
        "weights": study.weights,
        "split": "test" if study.split == "auto" else study.split,
        "code": "0",
        "model": cell.recipe.student.model,
        "epochs": cell.recipe.epochs,
        "epoch": cell.recipe.epochs,
        **score_values(accuracy),
        "network": {"parameters": 2e6, "head_parameters": 1e5, "gflops": 4.5, "head_gflops": 0.5},
        "training_seconds": 1.0,
        "seconds_per_step": 0.1,
        "arithmetic": "cpu fp32",
        "taught_by": None,
        "peak_mib": 300,
        "gpu_peak_mib": 0,
    }
    write_json(folder / CELL, cell_description(cell, study))
    write_json(folder / SCORE, score)
    save_detections(folder / DETECTIONS, detections)
    rows = [{"epoch": float(e), "map50": None, "map50_95": 0.1 * e} for e in range(1, cell.recipe.epochs + 1)]
    write_history(folder / "history.csv", rows)
    return score


@pytest.fixture(scope="session")
def make_detections(make_predictions: Callable[..., list[Detections]]) -> Callable[..., SplitDetections]:
    """Makes what a detector finds: true boxes, its skill from 0 to 1, a seed."""

    def make(truths: Sequence[Truth], skill: float, seed: int) -> SplitDetections:
        return SplitDetections(
            images=tuple(f"{i}.png" for i in range(len(truths))),
            classes=CLASSES,
            predictions=make_predictions(truths, skill, seed),
            truths=truths,
            image_hws=[HW] * len(truths),
        )

    return make


@pytest.fixture(scope="session")
def finish() -> Callable[..., dict[str, Any]]:
    """Leaves behind a finished cell: the cell, its study, the study's folder, what it found."""
    return _finish


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of 64 x 96 pixels a split, one box each."""
    root = tmp_path_factory.mktemp("data")
    for split in ("train", "val", "test"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for i in range(4):
            cv2.imwrite(
                str(root / "images" / split / f"{i}.png"), np.full((64, 96, 3), 60 + 40 * i, np.uint8)
            )
            (root / "labels" / split / f"{i}.txt").write_text(f"{i % 2} 0.5 0.5 0.3 0.3\n")
    text = "train: images/train\nval: images/val\ntest: images/test\nnames: [red, yellow, green, off]\n"
    (root / "data.yaml").write_text(text)
    return root / "data.yaml"
