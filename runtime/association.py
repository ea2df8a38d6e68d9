"""Association of predicted boxes with detections: distances, the common shift of a frame, assignment.

Boxes are cx, cy, w, h in source pixels. Distances are in units of the object's size, the square root of its
area; the change of size is part of the distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST_SHIFTS = 96  # tried in a frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """How far a detection may be from its prediction; lengths in sizes of the object.

    Attributes:
        near: Distance at the time of the last detection.
        speed: Growth of that distance with time, sizes per second.
        speed_new: The same for a track of one detection, whose velocity is not known.
        side: Change of a side that counts as a distance of 1, as a logarithm.
        side_speed: Growth of ``side`` with time, per second.
        shift: Largest common shift between two frames.
        shift_speed: Growth of it with time, sizes per second.
        shift_cost: What the largest shift costs, in matches.
    """

    near: float = 1.5
    speed: float = 4.0
    speed_new: float = 10.0
    side: float = 0.3
    side_noise: float = 0.2
    side_speed: float = 1.0
    shift: float = 0.3
    shift_speed: float = 40.0
    shift_cost: float = 1.0

    def reach(self, age_s: Floats, is_new: NDArray[np.bool_]) -> Floats:
        """The largest distance of each track, float64 ``[N]``, ``age_s`` after its last detection."""
        return self.near + np.where(is_new, self.speed_new, self.speed) * age_s


def distances(expected: Floats, found: Floats, age_s: Floats, reach: Floats, gates: Gates) -> Floats:
    """Distances of predicted boxes ``[N, 4]`` and detections ``[M, 4]``, 1 is the largest allowed: ``[N, M]``."""
    place = np.hypot(*np.moveaxis(found[None, :, :2] - expected[:, None, :2], 2, 0))
    return np.hypot(place / (_sizes(expected) * reach)[:, None], _side_distance(expected, found, age_s, gates))


def _sizes(boxes: Floats) -> Floats:
    return np.sqrt(boxes[:, 2] * boxes[:, 3])


def _side_distance(expected: Floats, found: Floats, age_s: Floats, gates: Gates) -> Floats:
    change = np.abs(np.log(found[None, :, 2:] / expected[:, None, 2:])).max(axis=2)
    return np.maximum(change - gates.side_noise, 0) / (gates.side + gates.side_speed * age_s)[:, None]


def common_shift(
    expected: Floats,
    found: Floats,
    allowed: NDArray[np.bool_],
    reach: Floats,
    step_s: float,
    age_s: Floats,
    gates: Gates,
) -> tuple[Floats, int]:
    """The shift of all objects against their predictions, as the camera turns or shakes.

    Args:
        expected: Predicted boxes ``[N, 4]``.
        found: Detections ``[M, 4]``.
        allowed: Pairs that may be one object, bool ``[N, M]``.
        reach: Largest distance of each prediction, ``[N]``.
        step_s: Time since the previous frame, seconds.
        age_s: Time since the last detection of each track, seconds; ``[N]``.
        gates: Limits.

    Returns:
        The shift, px ``[2]``, and the number of matches that it explains.
    """
    none = np.zeros(2)
    if not allowed.any():
        return none, 0
    sides = _side_distance(expected, found, age_s, gates)
    size = _sizes(expected)
    offset = found[None, :, :2] - expected[:, None, :2]  # [N, M, 2]
    length = np.hypot(offset[..., 0], offset[..., 1]) / size[:, None]
    most = gates.shift + gates.shift_speed * step_s
    candidates = allowed & (sides < 1) & (length <= most)
    rows, columns = np.nonzero(candidates)
    order = np.argsort((sides + length / most)[rows, columns], kind="stable")[:MOST_SHIFTS]
    shifts = np.concatenate((none[None], offset[rows[order], columns[order]]))  # [K, 2]
    left = np.linalg.norm(offset[None] - shifts[:, None, None], axis=3) / size[:, None]  # [K, N, M]
    match = np.clip(1 - np.hypot(left / reach[:, None], sides), 0, None)
    match[:, ~allowed] = 0
    by_track, by_detection = match.max(axis=2), match.max(axis=1)
    gain = np.minimum(by_track.sum(axis=1), by_detection.sum(axis=1))
    cost = gates.shift_cost * np.linalg.norm(shifts, axis=1) / (most * np.median(size))
    best = int(np.argmax(gain - cost))
    return shifts[best], int(np.minimum((by_track[best] > 0).sum(), (by_detection[best] > 0).sum()))


def assign(ratio: Floats) -> list[tuple[int, int]]:
    """Pairs of row and column, the smallest first (greedy); those above 1 are left apart."""
    pairs: list[tuple[int, int]] = []
    left = ratio.copy()
    while left.size:
        at, column = divmod(int(np.argmin(left)), left.shape[1])
        if left[at, column] > 1:
            break
        pairs.append((at, column))
        left[at], left[:, column] = np.inf, np.inf
    return pairs
