"""The limits of the difference between a model file and its source.

A mean over classes gives four labels of a rare class the weight of eighty of a common one, so that one box
can move it by points. The drop of mAP is therefore measured twice: as a mean over classes, with its interval
over resampled images, and as a mean over labels. It exceeds its limit if both means do, or if the whole
interval does. Where a class has too few labels for mAP, the matched detections are the test: nearly all
confident detections of each class must be matched. A comparison that no file could fail is refused, too, see
``export.verify.evidence``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import isnan
from typing import Any

from edgestill.errors import VerificationError
from edgestill.target import FilePrecision
from export.verify.comparison import INTERVAL, Comparison
from export.verify.evidence import nothing_compared, rests_on, too_few

NOTHING_HINT = "compare on images with objects that the model finds: --verify DATA.yaml"


class BeyondLimitsError(VerificationError):
    """A comparison exceeded the limits.

    Attributes:
        comparison: The comparison as ``describe`` returns it.
    """

    def __init__(self, what: str, *, hint: str, comparison: Mapping[str, Any]) -> None:
        super().__init__(what, hint=hint)
        self.comparison = comparison


class NothingComparedError(VerificationError):
    """A comparison had neither confident detections nor labels that could show a difference.

    It is not a ``BeyondLimitsError``: no other build of the file would change it.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The largest differences at which a candidate is published.

    Attributes:
        max_drop: mAP50-95 points of 100 lost.
        min_matched: Share of the reference's confident detections that are matched: of all of them and, less
            one box, of each class.
        max_extra: Extra detections as a share of the reference's confident ones.
        max_drift: Absolute mean score drift.
    """

    max_drop: float
    min_matched: float
    max_extra: float
    max_drift: float


#: By precision. FP32, FP16 and bf16 differ from the source by floating-point
#: rounding only; bf16 has 8 significant bits, FP16 11. No precision may change
#: a detection between red and green.
LIMITS: Mapping[FilePrecision, Limits] = {
    "fp32": Limits(max_drop=0.1, min_matched=0.999, max_extra=0.001, max_drift=0.002),
    "fp16": Limits(max_drop=0.1, min_matched=0.99, max_extra=0.01, max_drift=0.005),
    "bf16": Limits(max_drop=0.5, min_matched=0.99, max_extra=0.01, max_drift=0.005),
    "int8": Limits(max_drop=1.0, min_matched=0.97, max_extra=0.05, max_drift=0.05),
}


def failures(comparison: Comparison, limits: Limits) -> tuple[str, ...]:
    """The limits that are exceeded, as sentences; empty if the candidate may be published."""
    nothing = nothing_compared(comparison, limits.max_drop)
    found = [nothing] if nothing else []
    if _is_lower(comparison, limits) and not _by_chance(comparison, limits):
        found.append(f"mAP50-95 fell by {comparison.drop_points:.2f} points, the limit is {limits.max_drop}")
    confident, matched = comparison.reference_sure, comparison.matched
    if confident and not matched >= limits.min_matched * confident:
        found.append(
            f"{matched} of {confident} detections are matched, the limit is {limits.min_matched:.1%}"
        )
    else:
        found += _lost_classes(comparison, limits)
    # With few detections a single box would exceed any share.
    if comparison.extra > max(1.0, limits.max_extra * confident):
        found.append(
            f"{comparison.extra} extra detections to {confident}, the limit is {limits.max_extra:.1%}"
        )
    drift = comparison.score_drift_mean
    if drift is not None and not abs(drift) <= limits.max_drift:
        found.append(f"scores drifted by {drift:+.3f} on average, the limit is {limits.max_drift}")
    if comparison.red_green_swaps:
        found.append(f"{comparison.red_green_swaps} detections changed between red and green")
    return tuple(found)


def doubts(comparison: Comparison, limits: Limits) -> tuple[str, ...]:
    """What the images are too few to decide, as sentences."""
    few = too_few(comparison, limits.max_drop)
    if not (_is_lower(comparison, limits) and _by_chance(comparison, limits)):
        return few
    worst = max(comparison.by_class, key=lambda name: comparison.by_class[name].drop_points or 0.0)
    most = comparison.by_class[worst]
    low, high = comparison.drop_low_points, comparison.drop_high_points
    text = (
        f"mAP50-95 fell by {comparison.drop_points:.2f} points in the mean over classes "
        f"({100 * INTERVAL:.0f} % interval {low:.2f} to {high:.2f}) and by "
        f"{comparison.drop_by_label_points:.2f} in the mean over labels: {worst} weighs most, with "
        f"{most.drop_points:.2f} points on {most.labels} labels; compare on more images"
    )
    return (text, *few)


def describe(comparison: Comparison, limits: Limits) -> dict[str, Any]:
    """The comparison, its derived figures, the limits and the exceeded ones, as plain JSON data."""
    return {
        **asdict(comparison),
        "drop_points": comparison.drop_points,
        "drop_by_label_points": comparison.drop_by_label_points,
        "confidence": INTERVAL,
        "red_green_swaps": comparison.red_green_swaps,
        "compared_by": list(rests_on(comparison, limits.max_drop)),
        "limits": asdict(limits),
        "failures": list(failures(comparison, limits)),
        "doubts": list(doubts(comparison, limits)),
    }


def refuse_beyond(comparison: Comparison, limits: Limits, what: str, hint: str) -> None:
    """Raise a VerificationError if a limit is exceeded, or if nothing was compared.

    Args:
        comparison: The measurements.
        limits: The limits.
        what: Begins the message, e.g. ``"student.onnx was not published"``.
        hint: What to do where a limit is exceeded.

    Raises:
        BeyondLimitsError: A limit is exceeded.
        NothingComparedError: No file could have exceeded the limits on these images.
    """
    if nothing := nothing_compared(comparison, limits.max_drop):
        raise NothingComparedError(f"{what}: {nothing}", hint=NOTHING_HINT)
    if beyond := failures(comparison, limits):
        described = describe(comparison, limits)
        raise BeyondLimitsError(f"{what}: {'; '.join(beyond)}", hint=hint, comparison=described)


def _is_lower(comparison: Comparison, limits: Limits) -> bool:
    """Whether the mean over classes fell by more than the limit."""
    drop = comparison.drop_points
    return drop is not None and not drop <= limits.max_drop


def _by_chance(comparison: Comparison, limits: Limits) -> bool:
    """Whether a drop of the mean over classes may come from few labels by chance."""
    over_labels, low = comparison.drop_by_label_points, comparison.drop_low_points
    if over_labels is None or low is None or isnan(comparison.drop_points or 0.0):
        return False
    return over_labels <= limits.max_drop and low <= limits.max_drop


def _lost_classes(comparison: Comparison, limits: Limits) -> Iterator[str]:
    """The classes with too few matches; one box a class may miss, since its score may be at a threshold."""
    for name, figures in comparison.by_class.items():
        if figures.matched < limits.min_matched * figures.sure - 1:
            yield (
                f"{figures.matched} of {figures.sure} {name} are matched, "
                f"the limit is {limits.min_matched:.1%} less one"
            )
