"""Building blocks of YOLOv5 v6/v7. Attribute names are those of the original, so state-dict names match.

Source: models/common.py of https://github.com/ultralytics/yolov5, tag v7.0 (structure and names only).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgestill.architecture import BN_EPS, BN_MOMENTUM, Layer


class Conv(nn.Module):
    """Convolution without bias, batch norm, SiLU: ``[B, Cin, H, W]`` to ``[B, Cout, H/stride, W/stride]``."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        border = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, border, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(out_channels, eps=BN_EPS, momentum=BN_MOMENTUM)
        self.act = nn.SiLU()  # not in place: its backward pass would need a copy of the input

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, Cin, H, W]`` to ``[B, Cout, H/stride, W/stride]``."""
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class Bottleneck(nn.Module):
    """A 1x1 and a 3x3 ``Conv`` of the same width, with an optional residual connection."""

    def __init__(self, channels: int, *, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels)
        self.cv2 = Conv(channels, channels, kernel=3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to the same shape."""
        out: Tensor = self.cv2(self.cv1(x))
        return x + out if self.shortcut else out


class C3(nn.Module):
    """CSP block: two 1x1 branches of half the width, one with bottlenecks, concatenated, then a 1x1."""

    def __init__(self, in_channels: int, out_channels: int, *, repeats: int, shortcut: bool) -> None:
        super().__init__()
        half = out_channels // 2
        self.cv1 = Conv(in_channels, half)
        self.cv2 = Conv(in_channels, half)
        self.cv3 = Conv(2 * half, out_channels)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut=shortcut) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, Cin, H, W]`` to ``[B, Cout, H, W]``."""
        out: Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
        return out


class SPPF(nn.Module):
    """Spatial pyramid pooling (fast): three chained 5x5 max pools, receptive fields of 5, 9 and 13 cells."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int) -> None:
        super().__init__()
        half = in_channels // 2
        self.cv1 = Conv(in_channels, half)
        self.cv2 = Conv(4 * half, out_channels)
        self.m = nn.MaxPool2d(kernel, stride=1, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, Cin, H, W]`` to ``[B, Cout, H, W]``."""
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(self.m(maps[-1]))
        out: Tensor = self.cv2(torch.cat(maps, 1))
        return out


class Concat(nn.Module):
    """Concatenation over channels."""

    def forward(self, *maps: Tensor) -> Tensor:
        """Concatenate ``[B, Ci, H, W]`` to ``[B, sum(Ci), H, W]``."""
        return torch.cat(maps, 1)


def build_block(layer: Layer) -> nn.Module:
    """Module for one row of the architecture table."""
    if layer.kind == "conv":
        return Conv(
            layer.in_channels,
            layer.out_channels,
            kernel=layer.kernel,
            stride=layer.stride,
            padding=layer.padding,
        )
    if layer.kind == "c3":
        return C3(layer.in_channels, layer.out_channels, repeats=layer.repeats, shortcut=layer.shortcut)
    if layer.kind == "sppf":
        return SPPF(layer.in_channels, layer.out_channels, kernel=layer.kernel)
    if layer.kind == "upsample":
        return nn.Upsample(scale_factor=2, mode="nearest")
    return Concat()
