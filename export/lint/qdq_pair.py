"""A Q/DQ pair: a QuantizeLinear and the DequantizeLinear behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QdqPair:
    """A QuantizeLinear and its DequantizeLinear, or a DequantizeLinear of a stored integer tensor.

    Attributes:
        node: The QuantizeLinear, or the DequantizeLinear of a stored integer tensor.
        source: The input: a float tensor, or the stored integer tensor.
        output: The dequantised output.
        scale: The scales, float64 ``[channels]`` or ``[1]``; None if they are not constants.
        scale_type: Element type of the scales, e.g. ``"FLOAT"``; empty if unknown.
        zero_point: The zero points; None if there are none, or they are not constants.
        has_zero_point: Whether there are zero points.
        dtype: Type of the quantised elements, e.g. ``"INT8"``; empty if unknown.
        axis: Axis of the channels, if there is more than one scale.
        dims: Shape of the source if it is a constant, else None.
        is_stored: Whether the quantised values are stored.
    """

    node: onnx.NodeProto
    source: str
    output: str
    scale: NDArray[np.float64] | None
    scale_type: str
    zero_point: NDArray[np.int64] | None
    has_zero_point: bool
    dtype: str
    axis: int
    dims: tuple[int, ...] | None
    is_stored: bool

    @property
    def is_activation(self) -> bool:
        """Whether it quantises an activation, not a constant."""
        return self.dims is None

    @property
    def is_per_tensor(self) -> bool:
        """Whether it has one scale."""
        return self.scale is None or self.scale.size == 1

    def same_parameters(self, other: QdqPair) -> bool:
        """Whether both have the same type, scales and zero points; True if that is unknown."""
        if self.scale is None or other.scale is None:
            return True
        zero_points = [0 if p.zero_point is None else p.zero_point for p in (self, other)]
        return (
            self.dtype == other.dtype
            and np.array_equal(self.scale, other.scale)
            and bool(np.all(np.equal(*np.broadcast_arrays(*zero_points))))
        )
