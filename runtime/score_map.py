"""The map from a network's scores to those that are reported: straight lines between knots, in log-odds.

With log-odds x = ln(s / (1 - s)) the map is linear between neighbouring knots and a shift beyond the
outermost ones, so that it rises everywhere: the order of boxes, what suppression keeps of them, average
precision and the best K of a compact output are those of the network. The inverse is the same map with its
knots turned round.

The lines are of Platt's form (Probabilistic Outputs for Support Vector Machines, 1999) piece by piece.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.spec import ScoreMap

END = 1e-9  # of a score's distance from 0 and 1


def reported(scores: NDArray[Any], knots: ScoreMap) -> NDArray[np.float32]:
    """What is reported for scores of the network, any shape; without knots the scores themselves."""
    return np.asarray(scores if not knots else _mapped(scores, *_columns(knots)), np.float32)


def unmapped(scores: NDArray[Any], knots: ScoreMap) -> NDArray[np.float32]:
    """The scores of the network for which these are reported: the inverse of ``reported``."""
    if not knots:
        return np.asarray(scores, np.float32)
    network, told = _columns(knots)
    return np.asarray(_mapped(scores, told, network), np.float32)


def network_threshold(conf: float, knots: ScoreMap) -> float:
    """The score of the network above which more than ``conf`` is reported."""
    if not knots or not 0 < conf < 1:
        return conf
    network, told = _columns(knots)
    return float(_mapped(np.asarray([conf]), told, network)[0])


def _columns(knots: ScoreMap) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    columns = _log_odds(np.asarray(knots, np.float64))
    return columns[:, 0], columns[:, 1]


def _mapped(scores: NDArray[Any], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    given = _log_odds(np.asarray(scores, np.float64))
    # Beyond the ends np.interp is level: what is missing there is added.
    beyond = np.minimum(given - x[0], 0) + np.maximum(given - x[-1], 0)
    return np.asarray(1 / (1 + np.exp(-(np.interp(given, x, y) + beyond))), np.float64)


def _log_odds(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(scores, END, 1 - END)
    return np.asarray(np.log(inside / (1 - inside)), np.float64)
