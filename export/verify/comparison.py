"""What is said of a model file beside its source: facts; ``export.verify.gate`` gives the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SURE = 0.5  # a detection of one side above this ...
SEEN = 0.25  # ... must be found by the other above that: nothing hangs on a threshold's edge
SAME_BOX = 0.5  # IoU
TRUE = 0.3  # what the reference finds above it stands for the truth where there are no labels
CONFIDENCE = 0.9  # of the interval of what is lost: one loss in twenty is beyond its lower end by chance


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigures:
    """One class of both sides.

    Attributes:
        labels: True boxes; None where there are no labels for the model.
        reference_map50_95: AP50-95 of the reference, a fraction; None without labels of the class.
        candidate_map50_95: The same of the candidate.
        sure: Detections of the reference above ``SURE``.
        matched: Of those, found again.
    """

    labels: int | None
    reference_map50_95: float | None
    candidate_map50_95: float | None
    sure: int
    matched: int

    @property
    def drop_points(self) -> float | None:
        """AP50-95 lost, in points of 100; negative when the candidate is better."""
        return _points_lost(self.reference_map50_95, self.candidate_map50_95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A candidate against its reference.

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
        drop_low_points: Of the interval that holds ``drop_points`` in ``CONFIDENCE`` of resamplings of the
            images, both sides on the same ones; None without labels.
        drop_high_points: Its other end.
        by_class: By name, the classes with labels or sure detections of the reference.
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
    drop_low_points: float | None
    drop_high_points: float | None
    by_class: Mapping[str, ClassFigures]

    @property
    def drop_points(self) -> float | None:
        """mAP50-95 lost, in points of 100; negative when the candidate is better."""
        return _points_lost(self.reference_map50_95, self.candidate_map50_95)

    @property
    def drop_by_label_points(self) -> float | None:
        """The same in the mean over labels: a class counts as often as it is there."""
        drops = [(c.drop_points, c.labels) for c in self.by_class.values()]
        known = [(drop, labels) for drop, labels in drops if drop is not None and labels]
        if not known:
            return None
        return sum(drop * labels for drop, labels in known) / sum(labels for _, labels in known)

    @property
    def red_green_swaps(self) -> int:
        """Detections that changed between red and green."""
        return sum(self.swapped.get(key, 0) for key in ("red -> green", "green -> red"))


def _points_lost(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else 100 * (one - other)
