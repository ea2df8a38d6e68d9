"""A YOLOX-style decoupled head with YOLOv5 anchors: separate towers for classes and boxes.

A 1x1 ``stem`` brings the feature map of each level to a common width. Two 3x3 convolutions follow for the
classes, and two for box and objectness; 1x1 convolutions predict the columns. With ``share_levels`` all
levels share everything but the stems. The columns are those of the coupled head, so loss, decoding and
distillation are the same for both.

Source: Ge et al., YOLOX, https://arxiv.org/abs/2107.08430, and yolox/models/yolo_head.py of
https://github.com/Megvii-BaseDetection/YOLOX (structure and names only).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from distill.models.blocks import Conv
from distill.models.head import AnchorHead, AnchorsPx, class_prior, objectness_prior

TOWER_DEPTH = 2  # 3x3 convolutions


class Decoupled(AnchorHead):
    """Head with two towers for each level.

    Args:
        nc: Number of classes.
        channels: Channels of the neck's feature maps, by level.
        hidden: Channels of stems and towers.
        anchors_px: Anchor width and height in input pixels, by level.
        strides: Input pixels per cell, by level.
        share_levels: Whether all levels share one set of towers and predictors.
    """

    kind = "decoupled"

    def __init__(
        self,
        nc: int,
        channels: Sequence[int],
        hidden: int,
        anchors_px: AnchorsPx,
        strides: Sequence[int],
        *,
        share_levels: bool = False,
    ) -> None:
        super().__init__(nc, anchors_px, strides)
        self.share_levels = share_levels
        per_cell = len(anchors_px[0])
        # Shared predictors use the geometric mean of the strides for their prior.
        tower_strides = [prod(strides) ** (1 / len(strides))] if share_levels else strides
        self.stems = nn.ModuleList(Conv(c, hidden) for c in channels)
        self.cls_convs = nn.ModuleList(_tower(hidden) for _ in tower_strides)
        self.reg_convs = nn.ModuleList(_tower(hidden) for _ in tower_strides)
        self.cls_preds = nn.ModuleList(
            _predictor(hidden, per_cell * nc, class_prior(nc)) for _ in tower_strides
        )
        self.reg_preds = nn.ModuleList(nn.Conv2d(hidden, per_cell * 4, 1) for _ in tower_strides)
        self.obj_preds = nn.ModuleList(
            _predictor(hidden, per_cell, objectness_prior(s)) for s in tower_strides
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Raw maps from the feature maps of the neck, which are not modified.

        Args:
            features: ``[B, C, h, w]`` by level.

        Returns:
            ``[B, anchors, h, w, 5 + nc]`` by level: tx, ty, tw, th, objectness and class logits.
        """
        raw = []
        for level, (stem, feature) in enumerate(zip(self.stems, features, strict=True)):
            tower = 0 if self.share_levels else level
            x = stem(feature)
            classes, boxes = self.cls_convs[tower](x), self.reg_convs[tower](x)
            columns = (
                self.reg_preds[tower](boxes),
                self.obj_preds[tower](boxes),
                self.cls_preds[tower](classes),
            )
            raw.append(torch.cat([self.by_anchor(out) for out in columns], -1))
        return raw


def _tower(hidden: int) -> nn.Sequential:
    return nn.Sequential(*(Conv(hidden, hidden, kernel=3) for _ in range(TOWER_DEPTH)))


@torch.no_grad()
def _predictor(hidden: int, columns: int, prior: float) -> nn.Conv2d:
    """A 1x1 convolution whose bias starts near ``prior``."""
    conv = nn.Conv2d(hidden, columns, 1)
    assert conv.bias is not None
    conv.bias += prior
    return conv
