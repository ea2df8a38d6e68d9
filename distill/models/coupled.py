"""The original YOLOv5 head: one 1x1 convolution a level gives box, objectness and classes of three anchors.

Source: models/yolo.py of https://github.com/ultralytics/yolov5, tag v7.0 (formulas and names only).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

AnchorsPx = Sequence[Sequence[tuple[float, float]]]


class Detect(nn.Module):
    """Raw predictions of three levels, and their decoding.

    Attributes:
        nc: Number of classes.
        strides: Input pixels per cell, by level.
        anchors: Anchor width and height in cells; float32 ``[levels, anchors, 2]``.
    """

    anchors: Tensor

    def __init__(
        self, nc: int, channels: Sequence[int], anchors_px: AnchorsPx, strides: Sequence[int]
    ) -> None:
        super().__init__()
        self.nc = nc
        self.strides = tuple(strides)
        per_cell = len(anchors_px[0])
        cells = [[(w / s, h / s) for w, h in level] for level, s in zip(anchors_px, strides, strict=True)]
        self.register_buffer("anchors", torch.tensor(cells, dtype=torch.float32))
        self.m = nn.ModuleList(_predictor(c, per_cell, nc, s) for c, s in zip(channels, strides, strict=True))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Raw maps from the neck's maps, which are left as they are.

        Args:
            features: ``[B, C, h, w]`` by level.

        Returns:
            ``[B, anchors, h, w, 5 + nc]`` by level: tx, ty, tw, th, objectness and class logits.
        """
        per_cell = self.anchors.shape[1]
        raw = []
        for conv, feature in zip(self.m, features, strict=True):
            out: Tensor = conv(feature)
            batch, _, height, width = out.shape
            raw.append(
                out.view(batch, per_cell, 5 + self.nc, height, width).permute(0, 1, 3, 4, 2).contiguous()
            )
        return raw

    def decode(self, raw: Sequence[Tensor]) -> Tensor:
        """Boxes and probabilities from raw maps.

        Returns:
            float32 ``[B, A, 5 + nc]``: cx, cy, w, h in input pixels, objectness, class probabilities.
            Rows run over levels, then anchors, then y, then x.
        """
        rows = []
        for level, stride, anchors in zip(raw, self.strides, self.anchors, strict=True):
            batch, per_cell, height, width, columns = level.shape
            y, x = torch.meshgrid(
                torch.arange(height, device=level.device),
                torch.arange(width, device=level.device),
                indexing="ij",
            )
            grid = torch.stack((x, y), -1) - 0.5  # [h, w, 2]
            p = level.float().sigmoid()
            xy = (2 * p[..., :2] + grid) * stride
            wh = (2 * p[..., 2:4]) ** 2 * (anchors * stride).view(1, per_cell, 1, 1, 2)
            rows.append(torch.cat((xy, wh, p[..., 4:]), -1).view(batch, -1, columns))
        return torch.cat(rows, 1)


@torch.no_grad()
def _predictor(channels: int, per_cell: int, nc: int, stride: int) -> nn.Conv2d:
    """One level's convolution, biased to few objects, so that the first steps need not unlearn a flood."""
    conv = nn.Conv2d(channels, per_cell * (5 + nc), 1)
    assert conv.bias is not None
    bias = conv.bias.view(per_cell, 5 + nc)  # a view: writes through to the parameter
    bias[:, 4] += math.log(8 / (640 / stride) ** 2)  # 8 objects in an image of 640 x 640
    bias[:, 5:] += math.log(0.6 / (nc - 0.99999))
    return conv
