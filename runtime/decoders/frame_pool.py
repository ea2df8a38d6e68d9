"""Arrays for frames that are used again: a new array of some megabytes costs its page faults every time."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

MOST = 8  # a program that holds more frames than this gets new arrays


class FramePool:
    """Hands out arrays that nobody else holds. A view of an array holds it, too."""

    def __init__(self) -> None:
        self._arrays: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)]
        self._references_of_idle = self._references(0)
        self._arrays.clear()

    def take(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """An array uint8 of this shape; its content is arbitrary."""
        idle = [i for i in range(len(self._arrays)) if self._references(i) <= self._references_of_idle]
        for i in idle:
            if self._arrays[i].shape == shape:
                return self._arrays[i]
        for i in reversed(idle):  # of a size that the stream no longer has
            del self._arrays[i]
        array = np.empty(shape, np.uint8)
        if len(self._arrays) < MOST:
            self._arrays.append(array)
        return array

    def _references(self, index: int) -> int:
        """How many hold an array, with the list and this call: counted here, as a loop would add to it."""
        return sys.getrefcount(self._arrays[index])
