"""What a comparison rests on: without confident detections or labels it proves nothing.

A comparison is a proof only if it can fail. So a file without any detection is the measure: it exceeds the
limits if the reference has a confident detection, or if its mAP50-95 is larger than the drop that is allowed.
If neither holds, any file would pass, and nothing was compared.

With few confident detections the comparison can fail, but a file within the limits may be worse than them by
chance. If all of n detections are matched, a loss of the share p or more is excluded with confidence c where
(1 - p)^n <= 1 - c. That is the exact binomial bound where nothing is lost.

Source: Hanley and Lippman-Hand, If Nothing Goes Wrong, Is Everything All Right?, JAMA 1983.
"""

from __future__ import annotations

from math import ceil, log
from typing import Any

from edgestill.spec import ModelSpec
from export.verify.comparison import CONFIDENT_SCORE, Comparison

DETECTIONS = "confident detections"
MEAN_AP = "mAP50-95"
CONFIDENCE = 0.95  # of the bound of the loss; one-sided, as the lower end of ``comparison.INTERVAL``
#: Share of the detections, the limit of INT8. The other precisions have tighter limits, but a fault of theirs
#: is in the graph and changes nearly all detections, so that this many show it.
LOSS = 0.03
LEAST_DETECTIONS = ceil(log(1 - CONFIDENCE) / log(1 - LOSS))


def rests_on(comparison: Comparison, max_drop: float) -> tuple[str, ...]:
    """The measurements by which a file without any detection would be refused.

    Args:
        comparison: The measurements.
        max_drop: mAP50-95 points of 100 that may be lost.

    Returns:
        ``DETECTIONS`` and ``MEAN_AP``, one of them, or nothing: then any file would pass.
    """
    found = []
    if comparison.reference_sure:
        found.append(DETECTIONS)
    by_class, by_label = _reference_points(comparison)
    if by_class > max_drop and by_label > max_drop:
        found.append(MEAN_AP)
    return tuple(found)


def nothing_compared(comparison: Comparison, max_drop: float) -> str | None:
    """Why the comparison proves nothing, as a sentence; None if it can fail."""
    if rests_on(comparison, max_drop):
        return None
    labels = _labels(comparison)
    ending = "and there are no labels of its classes"
    if labels:
        by_class, _ = _reference_points(comparison)
        ending = (
            f"and its mAP50-95 on {labels} labels is {by_class:.2f} points, of which {max_drop:g} may be "
            "lost: a file that finds nothing would pass"
        )
    return f"nothing was compared: {_no_detection(comparison)}, {ending}"


def too_few(comparison: Comparison, max_drop: float) -> tuple[str, ...]:
    """What too few confident detections leave open, as sentences; empty if there are enough, or no proof."""
    measured = rests_on(comparison, max_drop)
    if not measured or comparison.reference_sure >= LEAST_DETECTIONS:
        return ()
    count = comparison.reference_sure
    what = (
        f"the comparison has {count} confident detection{'s' * (count != 1)}"
        if count
        else f"{_no_detection(comparison)}, only mAP50-95 on {_labels(comparison)} labels was compared"
    )
    bound = f"a loss of {LOSS:.0%} of them with {CONFIDENCE:.0%} confidence"
    return (f"{what}: {LEAST_DETECTIONS} are needed to exclude {bound}; compare on more images",)


def input_differences(reference: ModelSpec, candidate: ModelSpec) -> tuple[str, ...]:
    """What differs between the inputs and scores of two models of the same classes, as sentences."""
    found = []
    if reference.input_hw != candidate.input_hw:
        one, other = ("x".join(map(str, spec.input_hw)) for spec in (reference, candidate))
        found.append(
            f"the input sizes differ, {one} and {other}: part of the difference is that of the sizes"
        )
    for name in ("pixel_order", "scale", "pad_value"):
        sides: list[Any] = [getattr(spec, name) for spec in (reference, candidate)]
        if sides[0] != sides[1]:
            found.append(f"the pre-processing differs: {name} is {sides[0]} and {sides[1]}")
    if reference.score_map != candidate.score_map:
        whose = [name for name, spec in (("A", reference), ("B", candidate)) if spec.score_map]
        maps = f"{whose[0]} has a score map" if len(whose) == 1 else "the score maps of A and B differ"
        found.append(f"{maps}: the scores are compared as they are reported")
    return tuple(found)


def _no_detection(comparison: Comparison) -> str:
    images = comparison.images
    return (
        f"the reference has no detection with a score of {CONFIDENT_SCORE:g} or more on "
        f"{images} image{'s' * (images != 1)}"
    )


def _labels(comparison: Comparison) -> int:
    return sum(figures.labels or 0 for figures in comparison.by_class.values())


def _reference_points(comparison: Comparison) -> tuple[float, float]:
    """mAP50-95 of the reference in points, as the mean over classes and over labels; 0 without labels."""
    known = [
        (figures.reference_map50_95, figures.labels)
        for figures in comparison.by_class.values()
        if figures.reference_map50_95 is not None and figures.labels
    ]
    if comparison.reference_map50_95 is None or not known:
        return 0.0, 0.0
    by_label = sum(value * labels for value, labels in known) / sum(labels for _, labels in known)
    return 100 * comparison.reference_map50_95, 100 * by_label
