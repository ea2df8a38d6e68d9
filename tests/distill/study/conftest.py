"""Studies without training: cells whose detections are made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from distill.history import write_history
from distill.study.cell import describe
from distill.study.grid import Cell, Study
from distill.study.process import CELL, FINDINGS, SCORE
from distill.study.scoring import Findings, numbers, save_findings
from edgestill.detections import Detections
from edgestill.files import write_json
from runtime.accuracy import score_images
from runtime.coco_precision import Truth

CLASSES = ("red", "yellow", "green", "off")
HW = (200, 200)


def _truths(images: int, seed: int = 0) -> list[Truth]:
    """Some boxes an image, of the first two classes: nothing is ever off."""
    random = np.random.default_rng(seed)
    truths = []
    for _ in range(images):
        n = int(random.integers(0, 5))
        corner = random.uniform(0, 150, (n, 2))
        xyxy = np.concatenate((corner, corner + random.uniform(10, 50, (n, 2))), axis=1)
        truths.append(Truth(xyxy.astype(np.float32), random.integers(0, 2, n)))
    return truths


def _findings(truths: Sequence[Truth], skill: float, seed: int) -> Findings:
    """What a detector might find: a share ``skill`` of the boxes, moved a little, and false alarms."""
    random = np.random.default_rng(seed)
    predictions = []
    for truth in truths:
        hit = random.random(len(truth.class_id)) < skill
        moved = truth.xyxy[hit] + random.normal(0, 3, (int(hit.sum()), 4))
        corner = random.uniform(0, 150, (6, 2))
        alarms = np.concatenate((corner, corner + random.uniform(8, 50, (6, 2))), axis=1)
        score = np.concatenate((random.beta(4, 2, len(moved)), random.beta(2, 4, 6)))
        order = np.argsort(-score)
        xyxy = np.concatenate((moved, alarms))[order]
        class_id = np.concatenate((truth.class_id[hit], random.integers(0, 4, 6)))[order]
        predictions.append(Detections(xyxy.astype(np.float32), score[order].astype(np.float32), class_id))
    return Findings(
        images=tuple(f"{i}.png" for i in range(len(truths))),
        classes=CLASSES,
        predictions=predictions,
        truths=truths,
        image_hws=[HW] * len(truths),
    )


def _finish(cell: Cell, study: Study, out: Path, findings: Findings) -> dict[str, Any]:
    """Leave behind what a trained and scored cell leaves; gives its score."""
    folder = out / cell.folder
    paths = [Path(name) for name in findings.images]
    accuracy = score_images(
        paths, findings.predictions, findings.truths, findings.classes, findings.image_hws
    )
    score = {
        **{key: getattr(cell, key) for key in ("arm", "teacher", "student", "seed")},
        "weights": study.weights,
        "split": "test" if study.split == "auto" else study.split,
        "code": "0",
        "model": cell.recipe.student.model,
        "epochs": cell.recipe.epochs,
        "epoch": cell.recipe.epochs,
        **numbers(accuracy),
        "training_seconds": 1.0,
        "seconds_per_step": 0.1,
        "arithmetic": "cpu fp32",
        "taught_by": None,
        "peak_mib": 300,
        "gpu_peak_mib": 0,
    }
    write_json(folder / CELL, describe(cell, study))
    write_json(folder / SCORE, score)
    save_findings(folder / FINDINGS, findings)
    rows = [{"epoch": float(e), "map50": None, "map50_95": 0.1 * e} for e in range(1, cell.recipe.epochs + 1)]
    write_history(folder / "history.csv", rows)
    return score


@pytest.fixture(scope="session")
def make_truths() -> Callable[..., list[Truth]]:
    """Makes so many images' true boxes; a seed."""
    return _truths


@pytest.fixture(scope="session")
def make_findings() -> Callable[..., Findings]:
    """Makes what a detector finds: true boxes, its skill from 0 to 1, a seed."""
    return _findings


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
