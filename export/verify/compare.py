"""Compare the detections of a model file with those of its source on real images.

Confident detections of each side are matched with the other's. The result holds measurements only;
``export.verify.gate`` applies the limits, so that other limits can be applied to a saved comparison.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.boxes import pairwise_iou
from edgestill.dataset import Dataset, read_image, say_remarks
from edgestill.detections import Detections
from edgestill.progress import track
from export.verify.comparison import (
    CONFIDENT_SCORE,
    GROUND_TRUTH_SCORE,
    INTERVAL,
    MATCH_IOU,
    MATCH_SCORE,
    ClassFigures,
    Comparison,
)
from runtime.detector import Detector, ModelDetector, open_detector
from runtime.metrics.bootstrap import draws, resampled
from runtime.metrics.coco import Truth
from runtime.metrics.evaluate import EVAL_CONF, EVAL_IOU, Accuracy, score, spread

SMALL_PX2 = 32.0**2  # COCO's small, in pixels of the source image
RESAMPLES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image to compare on.

    Attributes:
        path: The image.
        truth: Its labels in source pixels; None where the labels are of other classes than the model's.
    """

    path: Path
    truth: Truth | None


@dataclass(frozen=True, slots=True, eq=False)
class DetectorRun:
    """The detections of one model on the samples, in their order.

    Attributes:
        found: Detections by image, at the evaluation setting.
        image_hws: Height and width by image, pixels.
    """

    found: tuple[Detections, ...]
    image_hws: tuple[tuple[int, int], ...]


def load_samples(
    dataset: Dataset, split: str, classes: Sequence[str], *, limit: int | None = None
) -> list[Sample]:
    """The images of a split, spread evenly over it, with their labels where the classes are the model's."""
    return make_samples(dataset, spread(dataset.images(split), limit), classes)


def make_samples(dataset: Dataset, images: Sequence[Path], classes: Sequence[str]) -> list[Sample]:
    """Images of a data set with their labels, where its classes are the model's."""
    labelled = tuple(classes) == dataset.classes
    samples = [Sample(path, _truth(dataset, path) if labelled else None) for path in images]
    say_remarks(dataset)
    return samples


def open_for_evaluation(path: Path, **options: Any) -> ModelDetector:
    """Open a model file with the settings of COCO evaluation: nearly all scores, several classes a box.

    Args:
        path: The model file.
        options: Others of ``runtime.detector.open_detector``.
    """
    return open_detector(path, conf=EVAL_CONF, iou=EVAL_IOU, multi_label=True, **options)


def run_detector(detect: Detector, samples: Sequence[Sample], label: str) -> DetectorRun:
    """Run a detector, opened at the evaluation setting, on the samples; progress goes to stderr."""
    found, image_hws = [], []
    for sample in track(samples, label, len(samples)):
        image = read_image(sample.path)
        found.append(detect(image))
        image_hws.append((image.shape[0], image.shape[1]))
    return DetectorRun(tuple(found), tuple(image_hws))


def compare(
    reference: DetectorRun, candidate: DetectorRun, samples: Sequence[Sample], classes: Sequence[str]
) -> Comparison:
    """Compare a candidate with its reference on the same samples.

    Args:
        reference: Detections of the reference.
        candidate: Detections of the candidate.
        samples: The images of both.
        classes: The classes of both models.
    """
    tally = _Tally(classes)
    for left, right in zip(reference.found, candidate.found, strict=True):
        tally.add(left, right)
    agreement = score(
        candidate.found, [as_ground_truth(f) for f in reference.found], classes, candidate.image_hws
    )
    truths = [sample.truth for sample in samples if sample.truth is not None]
    scores: list[Accuracy] = []
    if len(truths) == len(samples):
        scores = [score(run.found, truths, classes, run.image_hws) for run in (reference, candidate)]
    low, high = _interval(reference, candidate, truths, classes) if scores else (None, None)
    return Comparison(
        images=len(samples),
        **_means(scores),
        kept_map50_95=agreement.map50_95,
        drop_low_points=low,
        drop_high_points=high,
        by_class=_by_class(classes, scores, tally),
        **tally.figures(),
    )


def _means(scores: Sequence[Accuracy]) -> dict[str, Any]:
    """The mAP fields of a Comparison, from the scores of both sides; None without labels."""
    names = ("reference_map50", "reference_map50_95", "candidate_map50", "candidate_map50_95")
    values = [value for side in scores for value in (side.map50, side.map50_95)]
    return dict(zip(names, values or [None] * len(names), strict=True))


def _interval(
    reference: DetectorRun, candidate: DetectorRun, truths: Sequence[Truth], classes: Sequence[str]
) -> tuple[float | None, float | None]:
    """The interval of the mAP50-95 points lost, by a paired bootstrap over images; None without any label.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    weights = draws(len(truths), RESAMPLES)
    one, other = (resampled(s.found, truths, len(classes), weights)[1:, 1] for s in (reference, candidate))
    lost = 100 * (one - other)
    lost = lost[~np.isnan(lost)]
    if not len(lost):
        return None, None
    low, high = np.quantile(lost, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return float(low), float(high)


def _by_class(classes: Sequence[str], scores: Sequence[Accuracy], tally: _Tally) -> dict[str, ClassFigures]:
    """The figures of both sides by class; ``scores`` is empty without labels."""
    found = {}
    for k, name in enumerate(classes):
        one, other = [side.per_class[name] for side in scores] or (None, None)
        figures = ClassFigures(
            labels=one["labels"] if one else None,
            reference_map50_95=one["ap50_95"] if one else None,
            candidate_map50_95=other["ap50_95"] if other else None,
            sure=tally.confident[k],
            matched=tally.matched[k],
        )
        if figures.labels or figures.sure:
            found[name] = figures
    return found


def as_ground_truth(found: Detections) -> Truth:
    """Detections with a score of ``GROUND_TRUTH_SCORE`` or more, in place of labels."""
    confident = found.score >= GROUND_TRUTH_SCORE
    return Truth(found.xyxy[confident], found.class_id[confident])


class _Tally:
    """Counts of matches over the images."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self.confident, self.matched = Counter[int](), Counter[int]()
        self._missed = self._missed_small = self._extra = 0
        self._swapped: dict[str, int] = {}
        self._drifts: list[float] = []
        self._ious: list[float] = []

    def add(self, reference: Detections, candidate: Detections) -> None:
        """Match the detections of one image in both directions."""
        for row in np.flatnonzero(reference.score >= CONFIDENT_SCORE):
            self.confident[int(reference.class_id[row])] += 1
            self._match(reference, int(row), candidate)
        for row in np.flatnonzero(candidate.score >= CONFIDENT_SCORE):
            same, _ = _overlapping(candidate, int(row), reference)
            self._extra += not len(same)

    def figures(self) -> dict[str, Any]:
        """The fields of a Comparison that come from counting."""
        return {
            "reference_sure": self.confident.total(),
            "matched": self.matched.total(),
            "missed": self._missed,
            "swapped": dict(sorted(self._swapped.items())),
            "missed_small": self._missed_small,
            "extra": self._extra,
            "score_drift_mean": float(np.mean(self._drifts)) if self._drifts else None,
            "score_drift_max": float(np.max(np.abs(self._drifts))) if self._drifts else None,
            "iou_mean": float(np.mean(self._ious)) if self._ious else None,
        }

    def _match(self, reference: Detections, row: int, candidate: Detections) -> None:
        same, other = _overlapping(reference, row, candidate)
        if len(same):
            overlap = pairwise_iou(reference.xyxy[row : row + 1], candidate.xyxy[same])[0]
            best = same[int(np.argmax(overlap))]
            self.matched[int(reference.class_id[row])] += 1
            self._drifts.append(float(candidate.score[best] - reference.score[row]))
            self._ious.append(float(overlap.max()))
        elif len(other):
            names = (self._classes[int(k)] for k in (reference.class_id[row], candidate.class_id[other[0]]))
            key = " -> ".join(names)
            self._swapped[key] = self._swapped.get(key, 0) + 1
        else:
            self._missed += 1
            x0, y0, x1, y1 = reference.xyxy[row]
            self._missed_small += bool((x1 - x0) * (y1 - y0) < SMALL_PX2)


def _overlapping(a: Detections, row: int, b: Detections) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of ``b`` that overlap row ``row`` of ``a``: those of its class, and those of other classes."""
    overlap = pairwise_iou(a.xyxy[row : row + 1], b.xyxy)[0]
    near = (overlap >= MATCH_IOU) & (b.score >= MATCH_SCORE)
    same = b.class_id == a.class_id[row]
    return np.flatnonzero(near & same), np.flatnonzero(near & ~same)


def _truth(dataset: Dataset, path: Path) -> Truth:
    labels = dataset.labels(path)
    image = read_image(path)
    return Truth(labels.xyxy_px((image.shape[0], image.shape[1])), labels.class_id)
