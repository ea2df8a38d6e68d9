"""Large arrays that are used again once nobody holds them: memory for a frame costs page faults each time."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

MOST = 8  # arrays that are kept; a sink that collects frames gets new ones
#: References to an array that only the pool holds: of the list, of the loop's variable, and of getrefcount.
HELD_BY_POOL = 3


class ArrayPool:
    """Arrays for frames, one size at a time.

    An array comes back by itself when the last reference to it, or to a view of it, is gone. One thread at a
    time takes arrays; any thread may let go of them.
    """

    def __init__(self) -> None:
        self._arrays: list[NDArray[np.uint8]] = []

    def take(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """An array, uint8 of a shape, with any content, that nobody else holds."""
        if self._arrays and self._arrays[0].shape != shape:
            self._arrays.clear()
        for array in self._arrays:
            if sys.getrefcount(array) <= HELD_BY_POOL:
                return array
        array = np.empty(shape, np.uint8)
        if len(self._arrays) < MOST:
            self._arrays.append(array)
        return array
