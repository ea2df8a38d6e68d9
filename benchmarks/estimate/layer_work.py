"""The work of a network, layer by layer: what an estimate of its latency is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

#: ``dense``: convolutions and matrix products, which tensor cores can compute. ``depthwise``: grouped
#: convolutions with few channels in a group, which they cannot. ``memory``: pools, resizes, pointwise
#: operators.
Kind = Literal["dense", "depthwise", "memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWork:
    """One kernel of a network after the fusions of an inference library, for one image.

    Attributes:
        kind: Which unit computes it.
        flops: Floating-point operations; a multiply-add is two.
        read: Elements of activations that it reads.
        written: Elements of activations that it writes.
        weights: Elements of weights that it reads, once for the batch.
        outputs: Output channels (columns of the product) of a dense kernel; else 0.
        reduction: Products that are summed up for one value of a dense kernel; else 0.
    """

    kind: Kind
    flops: float
    read: float
    written: float
    weights: float = 0.0
    outputs: int = 0
    reduction: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWork:
    """The layers of a network at one input size.

    Attributes:
        name: Of the model, for messages.
        input_hw: Input height and width, pixels.
        layers: The kernels, in order.
    """

    name: str
    input_hw: tuple[int, int]
    layers: Sequence[LayerWork]

    @property
    def gflops(self) -> float:
        """10^9 floating-point operations for one image."""
        return sum(layer.flops for layer in self.layers) / 1e9

    @property
    def parameters(self) -> float:
        """Number of weights."""
        return sum(layer.weights for layer in self.layers)
