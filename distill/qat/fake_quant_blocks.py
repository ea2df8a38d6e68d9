"""The blocks of a network as they read rounded numbers; names of weights are those of ``distill.models``.

A rounding stands where a number is read, not where it is made: of two readers of one map, one may be a
detection output, which reads it unrounded. ``Edges`` are the roundings of one node's inputs, in the exported
graph's order: see ``edgestill.quantization``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.models.blocks import C3, SPPF, Bottleneck
from distill.qat.steps import Steps

#: A tuple, so that a shared ``Steps`` is no part of each of its readers, nor stored with each.
Edges = tuple[Steps | None, ...]


def read(edges: Edges, place: int, x: Tensor) -> Tensor:
    """An input of a node as the node reads it."""
    edge = edges[place] if place < len(edges) else None
    out: Tensor = x if edge is None else edge(x)
    return out


class RoundedConv(nn.Module):
    """Convolution with its batch norm folded in, and SiLU.

    Args:
        conv: The convolution, with a bias.
        edges: Of the nodes ``conv``, ``sigmoid`` and ``product``.
        weight_steps: Of its weights; None if it multiplies floats.
        bias_steps: Of its input, if its bias is a whole number of products of steps.
    """

    def __init__(
        self, conv: nn.Conv2d, edges: dict[str, Edges], weight_steps: Steps | None, bias_steps: Steps | None
    ) -> None:
        super().__init__()
        self.conv = conv
        self.weight_steps = weight_steps
        self._input, self._sigmoid, self._product = (edges[k] for k in ("conv", "sigmoid", "product"))
        self._bias_steps = (bias_steps,)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, Cin, H, W]`` to ``[B, Cout, H/stride, W/stride]``."""
        conv = self.conv
        y = F.conv2d(read(self._input, 0, x), *self.rounded(), conv.stride, conv.padding)
        if not (self._sigmoid or self._product):
            return F.silu(y)
        gate = torch.sigmoid(read(self._sigmoid, 0, y))
        return read(self._product, 0, y) * read(self._product, 1, gate)

    def rounded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias as they are multiplied and added."""
        weight, bias = self.conv.weight, self.conv.bias
        assert bias is not None
        if self.weight_steps is None:
            return weight, bias
        inputs = self._bias_steps[0]
        if inputs is not None:
            step = (self.weight_steps.now * inputs.now).detach()
            bias = bias + (torch.round(bias / step) * step - bias).detach()
        return self.weight_steps(weight), bias


class RoundedBottleneck(nn.Module):
    """A bottleneck whose addition has ``edges``."""

    def __init__(self, block: Bottleneck, edges: Edges) -> None:
        super().__init__()
        self.cv1, self.cv2, self.shortcut = block.cv1, block.cv2, block.shortcut
        self._edges = edges

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to the same shape."""
        out: Tensor = self.cv2(self.cv1(x))
        return read(self._edges, 0, x) + read(self._edges, 1, out) if self.shortcut else out


class RoundedC3(nn.Module):
    """A C3 whose concat has ``edges``."""

    def __init__(self, block: C3, edges: Edges) -> None:
        super().__init__()
        self.cv1, self.cv2, self.cv3, self.m = block.cv1, block.cv2, block.cv3, block.m
        self._edges = edges

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, Cin, H, W]`` to ``[B, Cout, H, W]``."""
        joined = (self.m(self.cv1(x)), self.cv2(x))
        out: Tensor = self.cv3(torch.cat([read(self._edges, i, y) for i, y in enumerate(joined)], 1))
        return out


class RoundedSppf(nn.Module):
    """An SPPF whose pools have ``pools`` and whose concat has ``edges``."""

    def __init__(self, block: SPPF, pools: list[Edges], edges: Edges) -> None:
        super().__init__()
        self.cv1, self.cv2, self.m = block.cv1, block.cv2, block.m
        self._pools, self._edges = pools, edges

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, Cin, H, W]`` to ``[B, Cout, H, W]``."""
        maps = [self.cv1(x)]
        for edges in self._pools:
            maps.append(self.m(read(edges, 0, maps[-1])))
        out: Tensor = self.cv2(torch.cat([read(self._edges, i, y) for i, y in enumerate(maps)], 1))
        return out


class RoundedConcat(nn.Module):
    """Joins maps of one size over their channels."""

    def __init__(self, edges: Edges) -> None:
        super().__init__()
        self._edges = edges

    def forward(self, *maps: Tensor) -> Tensor:
        """Join ``[B, Ci, H, W]`` to ``[B, sum(Ci), H, W]``."""
        return torch.cat([read(self._edges, i, y) for i, y in enumerate(maps)], 1)


class RoundedUpsample(nn.Module):
    """Nearest neighbour, height and width times two."""

    def __init__(self, edges: Edges) -> None:
        super().__init__()
        self._edges = edges

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, C, 2H, 2W]``."""
        return F.interpolate(read(self._edges, 0, x), scale_factor=2, mode="nearest")
