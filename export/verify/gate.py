"""How far a model file may be from its source, and whether a comparison is beyond that.

A mean over classes gives four labels of a rare class the weight of eighty of a common one, and one box of
theirs moves it by points. So the mAP that is lost is told twice, in the mean over classes and over labels,
the first with its interval over resampled images. It is beyond its limit if both are, or if the interval is.
What the few labels of a class cannot show, its detections do: nearly all must be found again, class by class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import isnan
from typing import Any

from edgestill.errors import VerificationError
from edgestill.spec import Precision
from export.verify.comparison import CONFIDENCE, Comparison


class BeyondLimitsError(VerificationError):
    """A comparison was beyond the limits.

    Attributes:
        told: The comparison, as ``describe`` gives it.
    """

    def __init__(self, what: str, *, hint: str, told: Mapping[str, Any]) -> None:
        super().__init__(what, hint=hint)
        self.told = told


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a candidate may be from its reference.

    Attributes:
        max_drop: mAP50-95 points.
        min_matched: Share of the reference's sure detections, of all and, but for one box, of each class.
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


def failures(comparison: Comparison, limits: Limits) -> tuple[str, ...]:
    """What is beyond the limits, in words; empty when the candidate may be published."""
    found = []
    if _is_lower(comparison, limits) and not _by_chance(comparison, limits):
        found.append(f"mAP50-95 fell by {comparison.drop_points:.2f} points, the limit is {limits.max_drop}")
    sure, again = comparison.reference_sure, comparison.matched
    if sure and not again >= limits.min_matched * sure:
        found.append(f"{again} of {sure} detections were found again, the limit is {limits.min_matched:.1%}")
    else:
        found += _lost_classes(comparison, limits)
    # One box on a handful of detections is no share.
    if comparison.extra > max(1.0, limits.max_extra * sure):
        found.append(f"{comparison.extra} new detections beside {sure}, the limit is {limits.max_extra:.1%}")
    drift = comparison.score_drift_mean
    if drift is not None and not abs(drift) <= limits.max_drift:
        found.append(f"scores drifted by {drift:+.3f} on average, the limit is {limits.max_drift}")
    if comparison.red_green_swaps:
        found.append(f"{comparison.red_green_swaps} lights changed between red and green")
    return tuple(found)


def doubts(comparison: Comparison, limits: Limits) -> tuple[str, ...]:
    """What the images were too few to tell."""
    if not (_is_lower(comparison, limits) and _by_chance(comparison, limits)):
        return ()
    worst = max(comparison.by_class, key=lambda name: comparison.by_class[name].drop_points or 0.0)
    most = comparison.by_class[worst]
    low, high = comparison.drop_low_points, comparison.drop_high_points
    told = (
        f"mAP50-95 fell by {comparison.drop_points:.2f} points in the mean over classes "
        f"({100 * CONFIDENCE:.0f} % interval {low:.2f} to {high:.2f}) and by "
        f"{comparison.drop_by_label_points:.2f} in the mean over labels: {worst} weighs most, with "
        f"{most.drop_points:.2f} points on {most.labels} labels; compare on more images"
    )
    return (told,)


def describe(comparison: Comparison, limits: Limits) -> dict[str, Any]:
    """The comparison, its derived figures, the limits and what is beyond them, as plain JSON data."""
    return {
        **asdict(comparison),
        "drop_points": comparison.drop_points,
        "drop_by_label_points": comparison.drop_by_label_points,
        "confidence": CONFIDENCE,
        "red_green_swaps": comparison.red_green_swaps,
        "limits": asdict(limits),
        "failures": list(failures(comparison, limits)),
        "doubts": list(doubts(comparison, limits)),
    }


def refuse_beyond(comparison: Comparison, limits: Limits, what: str, hint: str) -> None:
    """Raise BeyondLimitsError, a VerificationError, if the comparison is beyond the limits."""
    if beyond := failures(comparison, limits):
        told = describe(comparison, limits)
        raise BeyondLimitsError(f"{what}: {'; '.join(beyond)}", hint=hint, told=told)


def _is_lower(comparison: Comparison, limits: Limits) -> bool:
    """Whether the mean over classes fell beyond the limit."""
    drop = comparison.drop_points
    return drop is not None and not drop <= limits.max_drop


def _by_chance(comparison: Comparison, limits: Limits) -> bool:
    """Whether a mean over classes beyond its limit may be the chance of a few labels."""
    over_labels, low = comparison.drop_by_label_points, comparison.drop_low_points
    if over_labels is None or low is None or isnan(comparison.drop_points or 0.0):
        return False
    return over_labels <= limits.max_drop and low <= limits.max_drop


def _lost_classes(comparison: Comparison, limits: Limits) -> Iterator[str]:
    """The classes whose detections are gone; one box may be on a threshold's edge."""
    for name, figures in comparison.by_class.items():
        if figures.matched < limits.min_matched * figures.sure - 1:
            yield (
                f"{figures.matched} of {figures.sure} {name} were found again, "
                f"the limit is {limits.min_matched:.1%} less one"
            )
