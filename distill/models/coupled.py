"""The original YOLOv5 head: one 1x1 convolution for each level predicts box, objectness and classes.

Source: models/yolo.py of https://github.com/ultralytics/yolov5, tag v7.0 (formulas and names only).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.models.head import AnchorHead, AnchorsPx, class_prior, objectness_prior


class Coupled(AnchorHead):
    """Head with one 1x1 convolution for each level."""

    kind = "coupled"

    def __init__(
        self, nc: int, channels: Sequence[int], anchors_px: AnchorsPx, strides: Sequence[int]
    ) -> None:
        super().__init__(nc, anchors_px, strides)
        per_cell = len(anchors_px[0])
        self.m = nn.ModuleList(_predictor(c, per_cell, nc, s) for c, s in zip(channels, strides, strict=True))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Raw maps from the feature maps of the neck, which are not modified.

        Args:
            features: ``[B, C, h, w]`` by level.

        Returns:
            ``[B, anchors, h, w, 5 + nc]`` by level: tx, ty, tw, th, objectness and class logits.
        """
        return [self.by_anchor(conv(f)).contiguous() for conv, f in zip(self.m, features, strict=True)]


@torch.no_grad()
def _predictor(channels: int, per_cell: int, nc: int, stride: int) -> nn.Conv2d:
    """The convolution of one level, with prior biases."""
    conv = nn.Conv2d(channels, per_cell * (5 + nc), 1)
    assert conv.bias is not None
    bias = conv.bias.view(per_cell, 5 + nc)  # a view: assignments change the parameter
    bias[:, 4] += objectness_prior(stride)
    bias[:, 5:] += class_prior(nc)
    return conv
