"""The measurements of a comparison; ``export.verify.gate`` holds them against limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CONFIDENT_SCORE = 0.5  # detections with this score or more are matched with the other side's
#: A match needs less, so that a detection whose score falls from 0.51 to 0.49 is not counted as missed.
MATCH_SCORE = 0.25
MATCH_IOU = 0.5
GROUND_TRUTH_SCORE = (
    0.3  # without labels, detections of the reference from this score on are the ground truth
)
INTERVAL = 0.9  # confidence of the interval of the drop: 5 % of drops lie below its lower end by chance


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigures:
    """The figures of one class.

    Attributes:
        labels: Labelled boxes; None where the data set has no labels for the model.
        reference_map50_95: AP50-95 of the reference, a fraction; None without labels of the class.
        candidate_map50_95: The same of the candidate.
        sure: Confident detections of the reference.
        matched: Those of them that the candidate matches.
    """

    labels: int | None
    reference_map50_95: float | None
    candidate_map50_95: float | None
    sure: int
    matched: int

    @property
    def drop_points(self) -> float | None:
        """AP50-95 lost, in points of 100; negative where the candidate is better."""
        return _points_lost(self.reference_map50_95, self.candidate_map50_95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A candidate against its reference.

    Attributes:
        images: Images compared.
        reference_sure: Confident detections of the reference: a score of ``CONFIDENT_SCORE`` or more.
        matched: Those of them that a detection of the candidate matches: the same class, an IoU of
            ``MATCH_IOU`` and a score of ``MATCH_SCORE`` or more.
        missed: Those of them that no detection of the candidate overlaps.
        swapped: Those of them that detections of other classes overlap only, by ``"class -> class"``.
        missed_small: The missed ones smaller than 32 x 32 pixels of the image.
        extra: Confident detections of the candidate that the reference does not match.
        score_drift_mean: Mean over the matches of candidate score minus reference score; None without any.
        score_drift_max: The largest absolute difference.
        iou_mean: Mean IoU of the matches.
        reference_map50_95: mAP of the reference, a fraction; None where there are no labels for it.
        candidate_map50_95: The same of the candidate.
        reference_map50: mAP at IoU 0.5 of the reference.
        candidate_map50: The same of the candidate.
        kept_map50_95: Agreement mAP50-95, a fraction: the candidate's, with the detections of the reference
            from ``GROUND_TRUTH_SCORE`` on as the ground truth. It needs no labels; None where the reference
            has no such detection.
        drop_low_points: Lower end of the ``INTERVAL`` interval of ``drop_points``, by resampling the images
            for both sides alike; None without labels.
        drop_high_points: Its upper end.
        by_class: By name, the classes with labels or confident detections of the reference.
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
        """mAP50-95 lost, in points of 100; negative where the candidate is better."""
        return _points_lost(self.reference_map50_95, self.candidate_map50_95)

    @property
    def drop_by_label_points(self) -> float | None:
        """The drop as a mean over labels in place of classes: a class weighs as much as it has labels."""
        drops = [(c.drop_points, c.labels) for c in self.by_class.values()]
        known = [(drop, labels) for drop, labels in drops if drop is not None and labels]
        if not known:
            return None
        return sum(drop * labels for drop, labels in known) / sum(labels for _, labels in known)

    @property
    def red_green_swaps(self) -> int:
        """Confident detections of the reference that changed between red and green."""
        return sum(self.swapped.get(key, 0) for key in ("red -> green", "green -> red"))


def _points_lost(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else 100 * (one - other)
