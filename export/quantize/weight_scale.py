"""The step of a weight's bytes, and how large bytes may be.

An x86 CPU without a dot product of bytes adds two products of an activation's byte and a weight's in 16
bits, see ``devices.int8_saturation``. Seven bits for a weight are the usual answer, and waste: only two
weights of one sign that are multiplied side by side, those of channels 2i and 2i + 1 in one place of the
kernel, can go beyond 16 bits, and two large ones seldom meet. With a step such that no pair does, the largest
byte of a channel of the COCO YOLOv5n is 109 (median), which is 7.8 bits. Such bytes are right on every CPU,
so one file is for all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgestill.quantization import WeightRange, pairs_of

LEAST_SCALE = 1e-12  # of a channel whose weights are all zero

Floats = NDArray[np.float64]


def weight_scale(weight: NDArray[np.float32], limit: WeightRange) -> NDArray[np.float32]:
    """One step for each output channel, the least that keeps the limit, float32 ``[out]``.

    Args:
        weight: float32 ``[out, in, k, k]``.
        limit: Of the layer, see ``WeightRange.of``.
    """
    scale = np.abs(weight.reshape(len(weight), -1)).max(axis=1) / limit.largest
    if limit.pair is not None:
        scale = np.maximum(scale, pairs_of(weight).max(axis=1) / limit.pair)
    return np.asarray(np.maximum(scale, LEAST_SCALE), np.float32)


def nearest(weight: NDArray[np.float32], scale: NDArray[np.float32], limit: WeightRange) -> NDArray[np.int8]:
    """Each weight's nearest byte within the limit, int8 ``[out, in, k, k]``."""
    values = np.rint(weight / scale.reshape(-1, 1, 1, 1)).astype(np.float64)
    values = np.clip(values, -limit.largest, limit.largest)
    if limit.pair is not None:
        first = values[:, ::2]
        values[:, 1::2] = np.clip(values[:, 1::2], *bounds(first, limit))
    return np.asarray(values, np.int8)


def bounds(partner: Floats, limit: WeightRange) -> tuple[Floats, Floats]:
    """The least and the largest byte that a weight may have, by that of its partner; 0 for a free one."""
    largest = np.full_like(partner, limit.largest)
    if limit.pair is None:
        return -largest, largest
    return (
        np.maximum(-largest, np.where(partner < 0, -limit.pair - partner, -largest)),
        np.minimum(largest, np.where(partner > 0, limit.pair - partner, largest)),
    )
