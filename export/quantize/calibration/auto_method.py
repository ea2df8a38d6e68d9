"""Choose the range method by mAP, on images that are used neither for calibration nor for verification.

The file of each method is written as it would be published, opened by its backend and scored by mAP50-95. The
ground truth is the labels where they are of the model's classes, else the detections of the FP32 graph, see
``export.verify.compare.as_ground_truth``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgestill.dataset import Dataset
from edgestill.errors import DataError
from edgestill.files import sha256_file
from export.quantize.calibration.images import Calibration, same_content
from export.quantize.calibration.range_methods import METHODS, Method
from export.verify.compare import (
    DetectorRun,
    Sample,
    as_ground_truth,
    make_samples,
    open_for_evaluation,
    run_detector,
)
from export.verify.comparison import GROUND_TRUTH_SCORE
from runtime.metrics.evaluate import score, spread

IMAGES = 100
WORTH = 0.001  # gain of mAP50-95 over the default method that another one needs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MethodTrial:
    """The images to try range methods on.

    Attributes:
        samples: The images.
        classes: The model's classes.
        where: Description of the images, for the record.
    """

    samples: Sequence[Sample]
    classes: tuple[str, ...]
    where: str


def trial_images(
    dataset: Dataset, classes: Sequence[str], calibration: Calibration, verified: Sequence[Path]
) -> MethodTrial:
    """Choose images that are used neither for calibration nor for verification, by content.

    They come from ``val``, else from ``train``; never from ``test``, which is for the final result.

    Args:
        dataset: The data set of the calibration images.
        classes: The model's classes.
        calibration: The calibration images.
        verified: All images of the split of the verification.

    Raises:
        DataError: No image is left.
    """
    used = {*calibration.paths, *verified}
    for split in ("val", calibration.record.split):
        images = [p for p in dataset.images(split) if p not in used] if split in dataset.splits else []
        some = {path: sha256_file(path) for path in spread(images, IMAGES)}
        duplicates = same_content(some, [*used])
        if free := [path for path in some if path not in duplicates]:
            samples = make_samples(dataset, free, classes)
            return MethodTrial(
                samples=samples, classes=tuple(classes), where=f"{len(free)} other images of {split}"
            )
    raise DataError(
        f"{dataset.path} has no images to choose a method on: all are used for calibration or verification",
        hint="add a val split, lower --calib-images, or name a method with --calib-method",
    )


def choose_method(
    trial: MethodTrial, source: Path, make: Callable[[Method], Path], default: Method
) -> tuple[Method, dict[str, Any]]:
    """Choose the range method of the best mAP50-95.

    Args:
        trial: The images.
        source: The FP32 ONNX.
        make: Writes the file of a method.
        default: The method to keep unless another one gains ``WORTH``.

    Returns:
        The method, and the record of the trial for the manifest; it has ``doubts`` where all score 0.
    """
    truths = [sample.truth for sample in trial.samples if sample.truth is not None]
    by_labels = len(truths) == len(trial.samples) and any(len(truth.class_id) for truth in truths)
    if not by_labels:
        truths = [as_ground_truth(found) for found in _run(trial, source, "FP32").found]
    scores: dict[Method, float | None] = {}
    for method in METHODS:
        run = _run(trial, make(method), method)
        scores[method] = score(run.found, truths, trial.classes, run.image_hws).map50_95
    known = {method: value or 0.0 for method, value in scores.items()}
    best = max(known, key=lambda method: known[method])
    if known[best] < known[default] + WORTH:
        best = default
    truth = "labels" if by_labels else f"FP32's detections above {GROUND_TRUTH_SCORE}"
    record: dict[str, Any] = {"map50_95": dict(scores), "images": trial.where, "truth": truth}
    if not any(known.values()):
        why = f"none has an mAP50-95 above 0 on {trial.where}"
        record["doubts"] = [f"no range method could be chosen: {why}; {default}, the default, was used"]
    return best, record


def _run(trial: MethodTrial, path: Path, what: str) -> DetectorRun:
    with closing(open_for_evaluation(path)) as detector:
        return run_detector(detector, trial.samples, f"try {what}")
