"""Frames that show the same picture again, as a stream of 30 frames per second made of 6 pictures per second.

Such frames hold no new evidence, and objects seem to stand still and then to jump. They are told by their
detections: those of a repeated picture differ by what compression leaves, far less than those of two pictures
of a scene that stands still. A picture is not held for longer than ``LONGEST_S``; what is equal for longer is
taken for a scene without noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgestill.detections import Detections

LONGEST_S = 0.25
SAME_PX = 0.5  # of every corner
SAME_SCORE = 0.02
SURE_SCORE = 0.4  # a detection with less may come and go with the noise of compression


class RepeatedPictures:
    """Compares the detections of each frame with those of the frame in which its picture was new."""

    def __init__(self) -> None:
        self._first = Detections.empty()
        self._first_s: float | None = None

    def same_as(self, detections: Detections, time_s: float) -> NDArray[np.int64] | None:
        """Which detection of the picture each of a repeated frame is; None if the picture is new.

        Args:
            detections: The detections of the next frame.
            time_s: Its time, seconds.

        Returns:
            Positions in the detections of the frame in which the picture was new; int64 ``[N]``. It is -1 for
            a weak one that was not among them.
        """
        if self._first_s is not None and 0 < time_s - self._first_s < LONGEST_S:
            same = _same(detections, self._first)
            if same is not None:
                return same
        self._first, self._first_s = detections, time_s
        return None


def _same(now: Detections, before: Detections) -> NDArray[np.int64] | None:
    if not len(now) or not len(before):
        return None
    apart = np.abs(now.xyxy[:, None] - before.xyxy[None]).max(axis=2)
    change = np.abs(now.score[:, None] - before.score[None])
    equal = (apart < SAME_PX) & (change < SAME_SCORE) & (now.class_id[:, None] == before.class_id)
    if (equal.sum(axis=1) > 1).any() or (equal.sum(axis=0) > 1).any() or not equal.any():
        return None
    new, gone = ~equal.any(axis=1), ~equal.any(axis=0)
    if (now.score[new] >= SURE_SCORE).any() or (before.score[gone] >= SURE_SCORE).any():
        return None
    return np.where(new, -1, equal.argmax(axis=1))
