"""Score calibration: the map from the network's scores to the reported ones, piecewise linear in log-odds.

With log-odds x = ln(s / (1 - s)) the map is linear between neighbouring knots and a constant offset beyond
the outermost ones. It is strictly increasing, so that it changes neither the order of boxes nor the result of
NMS, average precision or the top K of a compact output. The inverse is the same map with the columns of its
knots swapped.

Source: each piece has the form of Platt, Probabilistic Outputs for Support Vector Machines, 1999.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.spec import ScoreMap

END = 1e-9  # scores are clipped to [END, 1 - END], where log-odds are finite


def reported(scores: NDArray[Any], knots: ScoreMap) -> NDArray[np.float32]:
    """The reported scores for scores of the network, float32 of any shape; without knots the same scores."""
    return np.asarray(scores if not knots else _mapped(scores, *_columns(knots)), np.float32)


def unmapped(scores: NDArray[Any], knots: ScoreMap) -> NDArray[np.float32]:
    """The inverse of ``reported``: the network's scores for reported ones."""
    if not knots:
        return np.asarray(scores, np.float32)
    network, mapped = _columns(knots)
    return np.asarray(_mapped(scores, mapped, network), np.float32)


def network_threshold(conf: float, knots: ScoreMap) -> float:
    """The network's score for which ``conf`` is reported: a threshold to apply before the map."""
    if not knots or not 0 < conf < 1:
        return conf
    network, mapped = _columns(knots)
    return float(_mapped(np.asarray([conf]), mapped, network)[0])


def _columns(knots: ScoreMap) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    columns = _log_odds(np.asarray(knots, np.float64))
    return columns[:, 0], columns[:, 1]


def _mapped(scores: NDArray[Any], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    given = _log_odds(np.asarray(scores, np.float64))
    # np.interp is constant beyond the ends; the offset from the nearest end is added.
    beyond = np.minimum(given - x[0], 0) + np.maximum(given - x[-1], 0)
    return np.asarray(1 / (1 + np.exp(-(np.interp(given, x, y) + beyond))), np.float64)


def _log_odds(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(scores, END, 1 - END)
    return np.asarray(np.log(inside / (1 - inside)), np.float64)
