"""The step of a weight's bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST_SCALE = 1e-12  # of a channel whose weights are all zero


def weight_scale(weight: NDArray[np.float32], levels: int) -> NDArray[np.float32]:
    """One step for each output channel, such that its largest weight has the largest byte, float32 ``[out]``.

    Args:
        weight: float32 ``[out, in, k, k]``.
        levels: The largest byte.
    """
    largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    return np.asarray(np.maximum(largest, LEAST_SCALE) / levels, np.float32)
