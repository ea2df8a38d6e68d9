"""A model file against its source on real images: what was found again, what drifted, what changed class.

Measuring and judging are apart: a ``Comparison`` holds facts, ``LIMITS`` holds the criteria, so that a saved
comparison can be judged again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.boxes import pairwise_iou
from edgestill.dataset import Dataset, read_image
from edgestill.detections import Detections
from edgestill.errors import VerificationError
from edgestill.progress import track
from edgestill.spec import Precision
from runtime.accuracy import score, spread
from runtime.coco_precision import Truth

SURE = 0.5  # a detection of one side above this ...
SEEN = 0.25  # ... must be found by the other above that: nothing hangs on a threshold's edge
SAME_BOX = 0.5  # IoU
TRUE = 0.3  # what the reference finds above it stands for the truth where there are no labels
SMALL_PX2 = 32.0**2  # COCO's small, in pixels of the source image

Detect = Callable[[NDArray[np.uint8]], Detections]


class BeyondLimitsError(VerificationError):
    """A comparison was beyond the limits.

    Attributes:
        told: The comparison, as ``describe`` gives it.
    """

    def __init__(self, what: str, *, hint: str, told: Mapping[str, Any]) -> None:
        super().__init__(what, hint=hint)
        self.told = told


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
class Seen:
    """What one model found on the samples, in their order.

    Attributes:
        found: Detections by image, at the evaluation setting.
        image_hws: Height and width by image, pixels.
    """

    found: tuple[Detections, ...]
    image_hws: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A candidate against its reference. Facts only; no verdict in here.

    Attributes:
        images: Images compared.
        reference_sure: Detections of the reference above ``SURE``.
        matched: Of those, found again: same class, IoU above ``SAME_BOX``, score above ``SEEN``.
        missed: Of those, found by nothing.
        swapped: Of those, found as another class only, by ``"class -> class"``.
        missed_small: Of the missed, smaller than 32 x 32 pixels.
        extra: Detections of the candidate above ``SURE`` that the reference does not see.
        score_drift_mean: Mean of candidate minus reference score over the matched; None without any.
        score_drift_max: Largest absolute one.
        iou_mean: Mean overlap of the matched.
        reference_map50_95: mAP of the reference, a fraction; None where there are no labels for it.
        candidate_map50_95: The same of the candidate.
        reference_map50: mAP at IoU 0.5 of the reference.
        candidate_map50: The same of the candidate.
        kept_map50_95: mAP of the candidate with what the reference finds above ``TRUE`` as the truth, a
            fraction: how much of the reference it kept, needing no labels; None where that finds nothing.
    """

    images: int
    reference_sure: int
    matched: int
    missed: int
    swapped: Mapping[str, int]
    missed_small: int
    extra: int
    score_drift_mean: float | None
    score_drift_max: float | None
    iou_mean: float | None
    reference_map50_95: float | None
    candidate_map50_95: float | None
    reference_map50: float | None
    candidate_map50: float | None
    kept_map50_95: float | None

    @property
    def drop_points(self) -> float | None:
        """mAP50-95 lost, in points of 100; negative when the candidate is better."""
        if self.reference_map50_95 is None or self.candidate_map50_95 is None:
            return None
        return 100 * (self.reference_map50_95 - self.candidate_map50_95)

    @property
    def red_green_swaps(self) -> int:
        """Detections that changed between red and green."""
        return sum(self.swapped.get(key, 0) for key in ("red -> green", "green -> red"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a candidate may be from its reference.

    Attributes:
        max_drop: mAP50-95 points.
        min_matched: Share of the reference's sure detections.
        max_extra: Extra detections, as a share of the reference's sure ones.
        max_drift: Absolute mean score drift.
    """

    max_drop: float
    min_matched: float
    max_extra: float
    max_drift: float


#: No precision may turn red into green. FP32 and FP16 are the same network but for rounding.
LIMITS: Mapping[Precision, Limits] = {
    "fp32": Limits(max_drop=0.1, min_matched=0.999, max_extra=0.001, max_drift=0.002),
    "fp16": Limits(max_drop=0.1, min_matched=0.99, max_extra=0.01, max_drift=0.005),
    "int8": Limits(max_drop=1.0, min_matched=0.97, max_extra=0.05, max_drift=0.05),
}


def load_samples(
    dataset: Dataset, split: str, classes: Sequence[str], *, limit: int | None = None
) -> list[Sample]:
    """The images of a split, spread evenly over it, with their labels where the classes are the model's."""
    return samples_of(dataset, spread(dataset.images(split), limit), classes)


def samples_of(dataset: Dataset, images: Sequence[Path], classes: Sequence[str]) -> list[Sample]:
    """Images of a data set with their labels, where its classes are the model's."""
    labelled = tuple(classes) == dataset.classes
    return [Sample(path, _truth(dataset, path) if labelled else None) for path in images]


def look(detect: Detect, samples: Sequence[Sample], label: str) -> Seen:
    """Run a detector, open at the evaluation setting, over the samples; progress goes to stderr."""
    found, image_hws = [], []
    for sample in track(samples, label, len(samples)):
        image = read_image(sample.path)
        found.append(detect(image))
        image_hws.append((image.shape[0], image.shape[1]))
    return Seen(tuple(found), tuple(image_hws))


def compare(
    reference: Seen, candidate: Seen, samples: Sequence[Sample], classes: Sequence[str]
) -> Comparison:
    """Measure a candidate against its reference on the same samples."""
    tally = _Tally(classes)
    for left, right in zip(reference.found, candidate.found, strict=True):
        tally.add(left, right)
    truths = [sample.truth for sample in samples if sample.truth is not None]
    maps: dict[str, Any] = dict.fromkeys(
        ("reference_map50", "reference_map50_95", "candidate_map50", "candidate_map50_95")
    )
    if len(truths) == len(samples):
        for side, seen in (("reference", reference), ("candidate", candidate)):
            accuracy = score(seen.found, truths, classes, seen.image_hws)
            maps[f"{side}_map50"], maps[f"{side}_map50_95"] = accuracy.map50, accuracy.map50_95
    kept = score(candidate.found, [as_truth(f) for f in reference.found], classes, candidate.image_hws)
    return Comparison(images=len(samples), kept_map50_95=kept.map50_95, **tally.figures(), **maps)


def as_truth(found: Detections) -> Truth:
    """What a model is sure enough of to stand for labels."""
    keep = found.score >= TRUE
    return Truth(found.xyxy[keep], found.class_id[keep])


def failures(comparison: Comparison, limits: Limits) -> tuple[str, ...]:
    """What is beyond the limits, in words; empty when the candidate may be published."""
    found = []
    sure = comparison.reference_sure
    drop = comparison.drop_points
    if drop is not None and not drop <= limits.max_drop:
        found.append(f"mAP50-95 fell by {drop:.2f} points, the limit is {limits.max_drop}")
    if sure and not comparison.matched >= limits.min_matched * sure:
        found.append(
            f"{comparison.matched} of {sure} detections were found again, "
            f"the limit is {limits.min_matched:.1%}"
        )
    # One box on a handful of detections is no share.
    if comparison.extra > max(1.0, limits.max_extra * sure):
        found.append(f"{comparison.extra} new detections beside {sure}, the limit is {limits.max_extra:.1%}")
    drift = comparison.score_drift_mean
    if drift is not None and not abs(drift) <= limits.max_drift:
        found.append(f"scores drifted by {drift:+.3f} on average, the limit is {limits.max_drift}")
    if comparison.red_green_swaps:
        found.append(f"{comparison.red_green_swaps} lights changed between red and green")
    return tuple(found)


def describe(comparison: Comparison, limits: Limits) -> dict[str, Any]:
    """The comparison, its derived figures, the limits and what is beyond them, as plain JSON data."""
    return {
        **asdict(comparison),
        "drop_points": comparison.drop_points,
        "red_green_swaps": comparison.red_green_swaps,
        "limits": asdict(limits),
        "failures": list(failures(comparison, limits)),
    }


def refuse_beyond(comparison: Comparison, limits: Limits, what: str, hint: str) -> None:
    """Raise BeyondLimitsError, a VerificationError, if the comparison is beyond the limits."""
    if beyond := failures(comparison, limits):
        told = describe(comparison, limits)
        raise BeyondLimitsError(f"{what}: {'; '.join(beyond)}", hint=hint, told=told)


class _Tally:
    """Counts over the images."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._sure = self._missed = self._missed_small = self._extra = 0
        self._swapped: dict[str, int] = {}
        self._drifts: list[float] = []
        self._ious: list[float] = []

    def add(self, reference: Detections, candidate: Detections) -> None:
        """Compare one image, both ways."""
        for row in np.flatnonzero(reference.score >= SURE):
            self._sure += 1
            self._find(reference, int(row), candidate)
        for row in np.flatnonzero(candidate.score >= SURE):
            same, _ = _partners(candidate, int(row), reference)
            self._extra += not len(same)

    def figures(self) -> dict[str, Any]:
        """The fields of a Comparison that come from counting."""
        return {
            "reference_sure": self._sure,
            "matched": len(self._drifts),
            "missed": self._missed,
            "swapped": dict(sorted(self._swapped.items())),
            "missed_small": self._missed_small,
            "extra": self._extra,
            "score_drift_mean": float(np.mean(self._drifts)) if self._drifts else None,
            "score_drift_max": float(np.max(np.abs(self._drifts))) if self._drifts else None,
            "iou_mean": float(np.mean(self._ious)) if self._ious else None,
        }

    def _find(self, reference: Detections, row: int, candidate: Detections) -> None:
        same, other = _partners(reference, row, candidate)
        if len(same):
            overlap = pairwise_iou(reference.xyxy[row : row + 1], candidate.xyxy[same])[0]
            best = same[int(np.argmax(overlap))]
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


def _partners(a: Detections, row: int, b: Detections) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of ``b`` that see what row ``row`` of ``a`` sees: of the same class, and of another."""
    overlap = pairwise_iou(a.xyxy[row : row + 1], b.xyxy)[0]
    near = (overlap >= SAME_BOX) & (b.score >= SEEN)
    same = b.class_id == a.class_id[row]
    return np.flatnonzero(near & same), np.flatnonzero(near & ~same)


def _truth(dataset: Dataset, path: Path) -> Truth:
    labels = dataset.labels(path)
    image = read_image(path)
    return Truth(labels.xyxy_px((image.shape[0], image.shape[1])), labels.class_id)
