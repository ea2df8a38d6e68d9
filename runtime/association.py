"""Association of predicted boxes with detections: distances, the common shift of a frame, assignment.

Boxes are cx, cy, w, h in source pixels. Lengths are in sizes of the object, the square root of its area. The
change of the sides is part of a distance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST_SHIFTS = 96  # tried in a frame
MOST_VOTERS = 24  # tracks, and detections, by which they are judged: the cost grows with the product


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """How far a detection may be from its prediction; lengths in sizes of the object.

    Attributes:
        near: Largest distance at the time of the last detection.
        speed: Growth of that distance with time, sizes per second.
        speed_new: The same for a track of one detection, whose velocity is not known.
        side_noise: Change of a side that the noise of a detector explains, as a logarithm.
        side: Largest change beyond it.
        side_speed: Growth of ``side`` with time, per second.
        shift: Largest common shift between two frames at the same time.
        shift_speed: Growth of it with time, sizes per second.
        shift_cost: What the largest shift costs, in matches.
    """

    near: float = 1.5
    speed: float = 4.0
    speed_new: float = 10.0
    side_noise: float = 0.2
    side: float = 0.3
    side_speed: float = 1.0
    shift: float = 0.3
    shift_speed: float = 40.0
    shift_cost: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predicted:
    """Where the objects are expected.

    Attributes:
        boxes: float64 ``[N, 4]``.
        age_s: Time since the last detection of each, seconds; ``[N]``.
        is_new: Whether each had one detection only; bool ``[N]``.
    """

    boxes: Floats
    age_s: Floats
    is_new: NDArray[np.bool_]

    def moved(self, shift: Floats) -> Predicted:
        """The same objects, all displaced by ``shift`` px ``[2]``."""
        return replace(self, boxes=self.boxes + np.concatenate((shift, np.zeros(2))))

    def first(self, count: int) -> Predicted:
        """The first of the objects."""
        return Predicted(boxes=self.boxes[:count], age_s=self.age_s[:count], is_new=self.is_new[:count])

    @property
    def sizes(self) -> Floats:
        """The size of each object, px; ``[N]``."""
        return np.asarray(np.sqrt(self.boxes[:, 2] * self.boxes[:, 3]), np.float64)

    def reach_px(self, gates: Gates) -> Floats:
        """The largest distance of the centre of a detection of each object, px; ``[N]``."""
        speed = np.where(self.is_new, gates.speed_new, gates.speed)
        return np.asarray((gates.near + speed * self.age_s) * self.sizes, np.float64)

    def side_distance(self, found: Floats, gates: Gates) -> Floats:
        """The change of the sides to those of detections ``[M, 4]``; 1 is the most allowed, ``[N, M]``."""
        change = np.abs(np.log(found[None, :, 2:] / self.boxes[:, None, 2:])).max(axis=2)
        most = gates.side + gates.side_speed * self.age_s
        return np.asarray(np.maximum(change - gates.side_noise, 0) / most[:, None], np.float64)


def distances(expected: Predicted, found: Floats, gates: Gates) -> Floats:
    """Distances of predictions to detections ``[M, 4]``; 1 is the largest allowed, ``[N, M]``."""
    offset = found[None, :, :2] - expected.boxes[:, None, :2]
    place = np.linalg.norm(offset, axis=2) / expected.reach_px(gates)[:, None]
    return np.asarray(np.hypot(place, expected.side_distance(found, gates)), np.float64)


def common_shift(
    expected: Predicted, found: Floats, allowed: NDArray[np.bool_], step_s: float, gates: Gates
) -> tuple[Floats, int]:
    """The shift of all objects against their predictions, as the camera turns or shakes.

    Every shift that brings a prediction onto a detection is tried, beside none at all. The best one explains
    most detections, closely, and is short.

    Args:
        expected: The predictions.
        found: Detections, ``[M, 4]``, the surest first.
        allowed: Pairs that may be one object, bool ``[N, M]``.
        step_s: Time since the previous frame, seconds.
        gates: Limits.

    Returns:
        The shift, px ``[2]``, and the number of matches that it explains.
    """
    none = np.zeros(2)
    expected, found = expected.first(MOST_VOTERS), found[:MOST_VOTERS]
    allowed = allowed[:MOST_VOTERS, :MOST_VOTERS]
    if not allowed.any():
        return none, 0
    sides = expected.side_distance(found, gates)
    offset = found[None, :, :2] - expected.boxes[:, None, :2]  # [N, M, 2]
    length = np.linalg.norm(offset, axis=2) / expected.sizes[:, None]
    most = gates.shift + gates.shift_speed * step_s
    rows, columns = np.nonzero(allowed & (sides < 1) & (length <= most))
    order = np.argsort((sides + length / most)[rows, columns], kind="stable")[:MOST_SHIFTS]
    shifts = np.concatenate((none[None], offset[rows[order], columns[order]]))  # [K, 2]

    left = np.linalg.norm(offset[None] - shifts[:, None, None], axis=3)  # [K, N, M]
    match = np.clip(1 - np.hypot(left / expected.reach_px(gates)[:, None], sides), 0, None)
    match[:, ~allowed] = 0
    by_track, by_detection = match.max(axis=2), match.max(axis=1)
    gain = np.minimum(by_track.sum(axis=1), by_detection.sum(axis=1))
    cost = gates.shift_cost * np.linalg.norm(shifts, axis=1) / (most * np.median(expected.sizes))
    best = int(np.argmax(gain - cost))
    return shifts[best], int(min((by_track[best] > 0).sum(), (by_detection[best] > 0).sum()))


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
