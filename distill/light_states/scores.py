"""Scores of the classifier: accuracy by state, size and source, confusions, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.light_states.labelled_heads import Head
from runtime.light_states.classifier import SHARE, STATES, UNKNOWN

SIZES_PX = (0.0, 6.0, 10.0, 16.0, 32.0, float("inf"))  # bounds of the shorter side
BINS = 10  # of the confidence
NONE = STATES.index(UNKNOWN)


def score(heads: Sequence[Head], probability: NDArray[np.float32], share: float = SHARE) -> dict[str, Any]:
    """Compare probabilities with labels.

    Args:
        heads: Labelled heads, and boxes without a head.
        probability: Of every state; float32 ``[N, 5]``.
        share: A state with a lower probability counts as unknown.

    Returns:
        Fractions in [0, 1]. ``by_state``, ``by_size`` (shorter side, pixels of the image) and ``by_source``
        hold, of the labelled heads, ``heads``, ``correct``, ``unknown`` and ``wrong``. ``without_head`` says
        how many boxes without a head got a state. ``red_for_green`` and ``green_for_red`` are counts.
        ``calibration_error`` is the expected calibration error over ten bins of confidence.
    """
    true = np.array([head.state for head in heads])
    seen = probability.argmax(axis=1)
    seen[probability.max(axis=1) < share] = NONE
    lit = true != NONE
    sizes = np.digitize([head.short_px for head in heads], SIZES_PX[1:-1])
    sources = np.array([head.source for head in heads])
    red, green = STATES.index("red"), STATES.index("green")
    return {
        "all": _shares(true, seen, lit),
        "by_state": {STATES[i]: _shares(true, seen, true == i) for i in range(NONE)},
        "by_size": {_range(i): _shares(true, seen, lit & (sizes == i)) for i in range(len(SIZES_PX) - 1)},
        "by_source": {name: _shares(true, seen, lit & (sources == name)) for name in sorted(set(sources))},
        "without_head": {"boxes": int((~lit).sum()), "got_a_state": _mean(seen[~lit] != NONE)},
        "red_for_green": int(((true == red) & (seen == green)).sum()),
        "green_for_red": int(((true == green) & (seen == red)).sum()),
        "calibration_error": _calibration_error(true[lit], probability[lit]),
    }


def _shares(true: NDArray[np.int64], seen: NDArray[np.int64], where: NDArray[np.bool_]) -> dict[str, Any]:
    true, seen = true[where], seen[where]
    return {
        "heads": len(true),
        "correct": _mean(true == seen),
        "unknown": _mean(seen == NONE),
        "wrong": _mean((true != seen) & (seen != NONE)),
    }


def _mean(values: NDArray[np.bool_]) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def _range(index: int) -> str:
    low, high = SIZES_PX[index : index + 2]
    return f"{low:g}-{high:g} px" if np.isfinite(high) else f"{low:g}+ px"


def _calibration_error(true: NDArray[np.int64], probability: NDArray[np.float32]) -> float | None:
    """Mean over heads of the gap between confidence and accuracy of their bin (Naeini et al., 2015)."""
    if not len(true):
        return None
    confidence, hit = probability.max(axis=1), probability.argmax(axis=1) == true
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [
        abs(float(confidence[bins == i].mean()) - float(hit[bins == i].mean())) * int((bins == i).sum())
        for i in range(BINS)
        if (bins == i).any()
    ]
    return round(sum(gaps) / len(true), 4)
