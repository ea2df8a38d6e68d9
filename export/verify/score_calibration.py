"""Calibrate the scores of a file below FP32: a rising map that restores the operating point of FP32.

Quantisation shifts scores more than it changes their order, so that a threshold chosen for FP32 finds more or
fewer boxes than before. The map sends the n-th highest score of the file on some images to the n-th highest
score of FP32 on them; then a threshold finds as many boxes as with FP32. This is equipercentile equating
(Kolen and Brennan, Test Equating, Scaling, and Linking, chapter 2). A regression of one score on the other
would shrink all scores towards their mean. Single ranks are noisy, so the knots are means over bands of
ranks; between knots the map is linear in log-odds, see ``runtime.score_map``.

One map serves all classes. It is increasing, so it changes neither the class of a box, nor the result of NMS,
nor the K best rows of a compact output, nor average precision. Rare classes have too few boxes on a few
hundred images for a map of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.dataset import Dataset
from edgestill.detections import Detections
from edgestill.errors import DataError, UsageError
from edgestill.files import resolved, sha256_file
from edgestill.spec import ScoreMap
from export.quantize.calibration.images import same_content
from export.verify.compare import DetectorRun, Sample, compare, run_detector
from runtime.detector import open_detector
from runtime.metrics.coco import Truth
from runtime.metrics.confusion import CONF, confusion
from runtime.metrics.evaluate import spread
from runtime.score_map import END, unmapped

IMAGES = 200
LOWEST = 0.05  # FP32 scores above it are fitted
BAND = 25  # boxes for one knot, at least
MOST_BANDS = 12
#: Lower scores are not mapped: an evaluation from 0.001 on has the same boxes with and without a map.
FLOOR = 0.01
IOU = 0.45  # of NMS, as on a device
HINT = "name images with objects of the classes: --recalibrate DATA.yaml:SPLIT"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOutImages:
    """Images that a map is fitted on.

    Attributes:
        samples: The images; their labels are not used.
        data: Path of the data set.
        split: The split of it.
    """

    samples: Sequence[Sample]
    data: str
    split: str


def choose_held_out(
    dataset: Dataset, split: str | None, *, calibrated: Sequence[Path], verified: Sequence[Path]
) -> HeldOutImages:
    """Choose images that are used neither for calibration nor for verification, by content.

    Args:
        dataset: The data set to choose from.
        split: The split of it; None for ``val``, or ``train`` where the file is verified on ``val``. Never
            ``test``.
        calibrated: The calibration images; they are left out.
        verified: The verification images; one of them among the chosen is an error.

    Raises:
        DataError: An image is also used for verification, or none is left.
        UsageError: The split is ``test``, or there is no such split.
    """
    if split == "test":
        raise UsageError(
            "a map fitted on the test split flatters the test", hint="--recalibrate DATA.yaml:val"
        )
    if split is None:
        used_paths = {resolved(path) for path in verified}
        names = [name for name in ("val", "train") if name in dataset.splits]
        free = [n for n in names if not used_paths & {resolved(path) for path in dataset.images(n)}]
        split = free[0] if free else "val"
    used = {resolved(path) for path in calibrated}
    paths = spread([p for p in dataset.images(split) if resolved(p) not in used], IMAGES)
    hashes = {path: sha256_file(path) for path in paths}
    if duplicates := same_content(hashes, [*verified]):
        first, second = next(iter(duplicates.items()))
        raise DataError(
            f"{len(duplicates)} of {len(hashes)} images of {split} are also used for verification, "
            f"e.g. {first.name} is {second.name} of {second.parent}",
            hint="fit the map on another split than that of --verify: --recalibrate DATA.yaml:SPLIT",
        )
    duplicates = same_content(hashes, [*calibrated])
    left = [path for path in paths if path not in duplicates]
    if not left:
        raise DataError(f"no images of {split} of {dataset.path} are left to fit a map on", hint=HINT)
    return HeldOutImages(samples=[Sample(path, None) for path in left], data=str(dataset.path), split=split)


class ScoreCalibration:
    """Fits score maps for the files of one network; the FP32 model runs once.

    Args:
        images: The images to fit on.
        source: The FP32 ONNX.
    """

    def __init__(self, images: HeldOutImages, source: Path) -> None:
        self._images, self._source = images, source

    def fit(self, candidate: Path) -> tuple[ScoreMap, dict[str, Any]]:
        """Fit the map of one file.

        Args:
            candidate: The file, ONNX or OpenVINO.

        Returns:
            The map, empty if the file finds too few boxes; and its record for the manifest.

        Raises:
            DataError: FP32 finds too few boxes on these images.
        """
        reference, ours = self._reference, self._scores(candidate, "file")
        knots = fit_score_map(reference, ours)
        record = {
            "data": self._images.data,
            "split": self._images.split,
            "images": len(self._images.samples),
            "images_sha256": self._digest,
            "fitted_on": "ONNX Runtime" if candidate.suffix == ".onnx" else "OpenVINO",
            "boxes": {
                "reference": int((reference > CONF).sum()),
                "file": int((ours > CONF).sum()),
                "conf": CONF,
            },
            "score_map": [list(pair) for pair in knots],
        }
        return knots, record

    @cached_property
    def _reference(self) -> NDArray[np.float64]:
        found = self._scores(self._source, "FP32")
        boxes, images = int((found > LOWEST).sum()), len(self._images.samples)
        if boxes < BAND:
            raise DataError(
                f"FP32 finds {boxes} boxes on {images} images of {self._images.split}: too few to fit a map",
                hint=HINT,
            )
        return found

    @cached_property
    def _digest(self) -> str:
        names = "".join(sha256_file(sample.path) for sample in self._images.samples)
        return hashlib.sha256(names.encode()).hexdigest()

    def _scores(self, path: Path, what: str) -> NDArray[np.float64]:
        with closing(open_detector(path, conf=FLOOR, iou=IOU)) as detector:
            run = run_detector(detector, self._images.samples, f"score {what}")
        return np.concatenate([found.score for found in run.found]).astype(np.float64)


def fit_score_map(reference: NDArray[np.float64], ours: NDArray[np.float64]) -> ScoreMap:
    """Fit the knots of a map from the file's scores to FP32's.

    Args:
        reference: Scores of the FP32 model, ``[N]``, in any order.
        ours: Scores of the file on the same images, ``[M]``, in any order.

    Returns:
        Pairs of a score of the file and the score to report; empty where the file finds too few boxes.
    """
    count = min(int((reference > LOWEST).sum()), len(ours))
    bands = min(MOST_BANDS, count // BAND)
    if not bands:
        return ()
    knots = [(FLOOR, FLOOR)]
    ranked = [np.sort(scores)[-count:] for scores in (ours, reference)]
    for both in zip(*(np.array_split(scores, bands) for scores in ranked), strict=True):
        raw, mapped = (round(_mean(band), 6) for band in both)
        if raw > knots[-1][0] and mapped > knots[-1][1]:
            knots.append((raw, mapped))
    return tuple(knots) if len(knots) > 1 else ()


def _mean(scores: NDArray[np.float64]) -> float:
    """The mean of scores in log-odds, as a score."""
    inside = np.clip(scores, END, 1 - END)
    return float(1 / (1 + np.exp(-np.log(inside / (1 - inside)).mean())))


def measure_effect(
    reference: DetectorRun,
    ours: DetectorRun,
    samples: Sequence[Sample],
    classes: Sequence[str],
    knots: ScoreMap,
) -> dict[str, Any]:
    """Measure the effect of a map on images that it was not fitted on.

    Args:
        reference: Detections of FP32.
        ours: Detections of the file, as the runtime reports them with the map.
        samples: The images.
        classes: The model's classes.
        knots: The map.

    Returns:
        Precision, recall and F1 at a device's threshold: of FP32, and of the file before and after mapping.
        The ground truth is the labels or, without any, FP32's detections above the threshold. Also the mean
        score drift before and after.
    """
    before = replace(
        ours, found=tuple(Detections(f.xyxy, unmapped(f.score, knots), f.class_id) for f in ours.found)
    )
    truths = [sample.truth for sample in samples if sample.truth is not None]
    labelled = len(truths) == len(samples) and any(len(truth.class_id) for truth in truths)
    if not labelled:
        truths = [Truth(f.xyxy[f.score >= CONF], f.class_id[f.score >= CONF]) for f in reference.found]
    bare = [Sample(sample.path, None) for sample in samples]
    drift = [compare(reference, side, bare, classes).score_drift_mean for side in (before, ours)]
    sides = {"reference": reference, "before": before, "after": ours}
    return {
        "conf": CONF,
        "truth": "labels" if labelled else f"the reference's boxes above {CONF}",
        **{name: _point(side.found, truths, len(classes)) for name, side in sides.items()},
        "score_drift_mean": dict(zip(("before", "after"), drift, strict=True)),
    }


def _point(found: Sequence[Detections], truths: Sequence[Truth], nc: int) -> dict[str, Any]:
    """Precision, recall and F1 at ``CONF``; None where there are no detections, or no labels."""
    counts = confusion(found, truths, nc)
    hits, boxes, labels = int(np.trace(counts[:nc, :nc])), int(counts[:, :nc].sum()), int(counts[:nc].sum())
    precision, recall = hits / boxes if boxes else None, hits / labels if labels else None
    return {
        "boxes": boxes,
        "precision": precision,
        "recall": recall,
        "f1": 2 * hits / (boxes + labels) if boxes + labels else None,
    }
