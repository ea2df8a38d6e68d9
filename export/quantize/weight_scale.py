"""Scales of INT8 weights, chosen so that products cannot saturate on any CPU.

An x86 CPU without VNNI adds two products of a UINT8 activation and an INT8 weight in saturating INT16, see
``devices.int8_saturation``. The usual remedy is 7-bit weights. It costs more accuracy than needed: only pairs
of weights of one sign, of channels 2i and 2i + 1 at one position of the kernel, can saturate, and two large
ones are rarely paired. With the smallest scale at which no pair saturates, the largest weight of a channel of
the COCO YOLOv5n is 109 (median), which is 7.8 bits. One file then serves every CPU.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgestill.quantization import WeightRange, pair_sums

LEAST_SCALE = 1e-12  # of a channel whose weights are all zero

Floats = NDArray[np.float64]


def weight_scale(weight: NDArray[np.float32], limit: WeightRange) -> NDArray[np.float32]:
    """The smallest scale of each output channel within the limits, float32 ``[out]``.

    Args:
        weight: float32 ``[out, in, k, k]``.
        limit: The layer's, see ``WeightRange.of``.
    """
    scale = np.abs(weight.reshape(len(weight), -1)).max(axis=1) / limit.largest
    if limit.pair is not None:
        scale = np.maximum(scale, pair_sums(weight).max(axis=1) / limit.pair)
    return np.asarray(np.maximum(scale, LEAST_SCALE), np.float32)


def nearest(weight: NDArray[np.float32], scale: NDArray[np.float32], limit: WeightRange) -> NDArray[np.int8]:
    """Round each weight to the nearest INT8 value within the limits, int8 ``[out, in, k, k]``.

    Args:
        weight: float32 ``[out, in, k, k]``.
        scale: float32 ``[out]``.
        limit: The layer's.
    """
    values = np.rint(weight / scale.reshape(-1, 1, 1, 1)).astype(np.float64)
    values = np.clip(values, -limit.largest, limit.largest)
    if limit.pair is not None:
        first = values[:, ::2]
        values[:, 1::2] = np.clip(values[:, 1::2], *bounds(first, limit))
    return np.asarray(values, np.int8)


def bounds(partner: Floats, limit: WeightRange) -> tuple[Floats, Floats]:
    """The smallest and largest value of a weight, by the other value of its pair; 0 does not restrict it."""
    largest = np.full_like(partner, limit.largest)
    if limit.pair is None:
        return -largest, largest
    return (
        np.maximum(-largest, np.where(partner < 0, -limit.pair - partner, -largest)),
        np.minimum(largest, np.where(partner > 0, limit.pair - partner, largest)),
    )
