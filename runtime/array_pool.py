"""Arrays that are used again: a new array of some megabytes costs its page faults every time."""

from __future__ import annotations

import sys
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 8  # a program that holds more arrays than this gets new ones


class ArrayPool:
    """Hands out arrays that nobody else holds. A view of an array holds it, too. Threads may share a pool.

    Args:
        dtype: dtype of the arrays.
    """

    def __init__(self, dtype: str = "uint8") -> None:
        self._dtype, self._in_use = np.dtype(dtype), Lock()
        self._arrays: list[NDArray[Any]] = [np.empty(0, self._dtype)]
        self._references_of_idle = self._references(0)
        self._arrays.clear()

    def take(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """An array of this shape; its content is arbitrary."""
        with self._in_use:
            idle = [i for i in range(len(self._arrays)) if self._references(i) <= self._references_of_idle]
            for i in idle:
                if self._arrays[i].shape == shape:
                    return self._arrays[i]
            for i in reversed(idle):  # of a size that is no longer asked for
                del self._arrays[i]
            array = np.empty(shape, self._dtype)
            if len(self._arrays) < MOST:
                self._arrays.append(array)
            return array

    def _references(self, index: int) -> int:
        """How many hold an array, with the list and this call: counted here, as a loop would add to it."""
        return sys.getrefcount(self._arrays[index])
