"""Choose the way to clip by what it does to detections, on images that nothing else was asked of.

Each candidate is written as the file that would be published, opened by its backend and scored by mAP50-95:
by the labels where they are of the model's classes, else with what the FP32 graph finds as the truth, see
``verify.as_truth``.
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
WORTH = 0.001  # mAP50-95 that another method must gain over the default


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MethodTrial:
    """What methods are tried on.

    Attributes:
        samples: The images.
        classes: The model's.
        where: Says which images these are, for the record.
    """

    samples: Sequence[Sample]
    classes: tuple[str, ...]
    where: str


def trial_images(
    dataset: Dataset, classes: Sequence[str], calibration: Calibration, held: Sequence[Path]
) -> MethodTrial:
    """Images that are neither calibrated nor verified on, by content: of ``val``, else others of ``train``.

    Never of ``test``, which is for the figure at the end.

    Args:
        dataset: That of the calibration images.
        classes: The model's.
        calibration: The images that ranges come from.
        held: All images of the split that the result is verified on.

    Raises:
        DataError: There are none.
    """
    taken = {*calibration.paths, *held}
    for split in ("val", calibration.record.split):
        images = [p for p in dataset.images(split) if p not in taken] if split in dataset.splits else []
        some = {path: sha256_file(path) for path in spread(images, IMAGES)}
        twins = same_content(some, [*taken])
        if free := [path for path in some if path not in twins]:
            samples = make_samples(dataset, free, classes)
            return MethodTrial(
                samples=samples, classes=tuple(classes), where=f"{len(free)} other images of {split}"
            )
    raise DataError(
        f"{dataset.path} holds no images to choose a method on: all are calibrated or verified on",
        hint="add a val split, lower --calib-images, or name a method with --calib-method",
    )


def choose_method(
    trial: MethodTrial, source: Path, make: Callable[[Method], Path], default: Method
) -> tuple[Method, dict[str, Any]]:
    """The method of the best mAP50-95, and the record of the trial.

    Args:
        trial: What to try on.
        source: The FP32 graph.
        make: Writes the file of one method.
        default: Kept unless another gains ``WORTH`` over it.
    """
    truths = [sample.truth for sample in trial.samples if sample.truth is not None]
    by_labels = len(truths) == len(trial.samples) and any(len(truth.class_id) for truth in truths)
    if not by_labels:
        truths = [as_ground_truth(found) for found in _found(trial, source, "FP32").found]
    scores: dict[Method, float] = {}
    for method in METHODS:
        seen = _found(trial, make(method), method)
        found = score(seen.found, truths, trial.classes, seen.image_hws).map50_95
        scores[method] = 0.0 if found is None else found
    best = max(scores, key=lambda method: scores[method])
    if scores[best] < scores[default] + WORTH:
        best = default
    truth = "labels" if by_labels else f"FP32's detections above {GROUND_TRUTH_SCORE}"
    return best, {"map50_95": dict(scores), "images": trial.where, "truth": truth}


def _found(trial: MethodTrial, path: Path, what: str) -> DetectorRun:
    with closing(open_for_evaluation(path)) as detector:
        return run_detector(detector, trial.samples, f"try {what}")
