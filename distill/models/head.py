"""Base classes of the detection heads, and the prior biases of their predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from edgestill.spec import HeadKind, Layout

AnchorsPx = Sequence[Sequence[tuple[float, float]]]


class DetectionHead(nn.Module):
    """A detection head: raw maps from the feature maps of the neck, and their decoding.

    Attributes:
        kind: Kind of head.
        layout: Layout of the output of ``decode``.
        nc: Number of classes.
        strides: Input pixels per cell, by level.
        share_levels: Whether all levels share one set of towers.
    """

    kind: ClassVar[HeadKind]
    layout: ClassVar[Layout]
    share_levels = False

    def __init__(self, nc: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.nc = nc
        self.strides = tuple(strides)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Raw maps from the feature maps of the neck, which are not modified.

        Args:
            features: ``[B, C, h, w]`` by level.

        Returns:
            ``[B, anchors, h, w, columns]`` by level.
        """
        raise NotImplementedError

    def decode(self, raw: Sequence[Tensor]) -> Tensor:
        """Boxes and probabilities from raw maps, float32, in ``layout``."""
        raise NotImplementedError


class AnchorHead(DetectionHead):
    """Base of the anchor heads. Columns: tx, ty, tw, th, objectness and class logits.

    Attributes:
        anchors: Anchor width and height in cells; float32 ``[levels, anchors, 2]``.

    Source: models/yolo.py of https://github.com/ultralytics/yolov5, tag v7.0 (formulas and names only).
    """

    layout = "yolov5"
    anchors: Tensor

    def __init__(self, nc: int, anchors_px: AnchorsPx, strides: Sequence[int]) -> None:
        super().__init__(nc, strides)
        cells = [[(w / s, h / s) for w, h in level] for level, s in zip(anchors_px, strides, strict=True)]
        self.register_buffer("anchors", torch.tensor(cells, dtype=torch.float32))

    def by_anchor(self, out: Tensor) -> Tensor:
        """View of a convolution's output ``[B, anchors * k, h, w]`` as ``[B, anchors, h, w, k]``."""
        batch, channels, height, width = out.shape
        per_cell = self.anchors.shape[1]
        return out.view(batch, per_cell, channels // per_cell, height, width).permute(0, 1, 3, 4, 2)

    def decode(self, raw: Sequence[Tensor]) -> Tensor:
        """Boxes and probabilities from raw maps.

        Returns:
            float32 ``[B, A, 5 + nc]``: cx, cy, w, h in input pixels, objectness, class probabilities.
            Rows are ordered by level, then anchor, then y, then x.
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


def objectness_prior(stride: float) -> float:
    """Initial objectness logit: a prior of 8 objects in an image of 640 x 640."""
    return math.log(8 / (640 / stride) ** 2)


def class_prior(nc: int) -> float:
    """Initial class logit: about equal probabilities; 0.99999 keeps it finite with one class."""
    return math.log(0.6 / (nc - 0.99999))
