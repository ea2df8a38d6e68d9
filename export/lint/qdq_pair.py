"""A QuantizeLinear and its DequantizeLinear, as one thing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QdqPair:
    """A rounding and its way back.

    Attributes:
        node: Its QuantizeLinear, or where bytes are stored its DequantizeLinear.
        source: The tensor in front of it; of stored bytes, they.
        output: The tensor behind it.
        scale: Of each channel, or one; None if it is not a constant of the file.
        scale_type: Element type of it, e.g. ``"FLOAT"``; empty if unknown.
        zero: Zero points; None if none are given, or they are not constants.
        has_zero: Whether zero points are given.
        kind: Type of the rounded elements, e.g. ``"INT8"``; empty if unknown.
        axis: Of the channels, where there is more than one scale.
        dims: Shape of what is rounded if that is a constant of the file, else None.
        is_stored: Whether the file holds the rounded values.
    """

    node: onnx.NodeProto
    source: str
    output: str
    scale: NDArray[np.float64] | None
    scale_type: str
    zero: NDArray[np.int64] | None
    has_zero: bool
    kind: str
    axis: int
    dims: tuple[int, ...] | None
    is_stored: bool

    @property
    def is_activation(self) -> bool:
        """Whether it rounds something that is computed."""
        return self.dims is None

    @property
    def is_per_tensor(self) -> bool:
        """Whether there is one scale only."""
        return self.scale is None or self.scale.size == 1

    def same_parameters(self, other: QdqPair) -> bool:
        """Whether rounding by both is rounding by one; true where it cannot be told."""
        if self.scale is None or other.scale is None:
            return True
        zeros = [0 if p.zero is None else p.zero for p in (self, other)]
        return (
            self.kind == other.kind
            and np.array_equal(self.scale, other.scale)
            and bool(np.all(np.equal(*np.broadcast_arrays(*zeros))))
        )
