"""A YOLOX-style head over YOLOv5's anchors: classes and boxes have towers of their own.

A level's map goes through a 1x1 ``stem`` to a common width, then through two 3x3 for the classes and two for
box and objectness; 1x1 convolutions read the towers. With ``share_levels`` the stems alone are a level's own.
The columns and their meaning are those of the coupled head, so loss, decoding and distillation serve both.

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

TOWER = 2  # 3x3 convolutions


class Decoupled(AnchorHead):
    """Raw predictions of two towers a level.

    Args:
        nc: Number of classes.
        channels: Channels of the neck's maps, by level.
        hidden: Channels of stems and towers.
        anchors_px: Anchor width and height in input pixels, by level.
        strides: Input pixels per cell, by level.
        share_levels: Whether one set of towers and predictors serves all levels.
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
        # Shared predictors start from the geometric mean of the levels' priors.
        owners = [prod(strides) ** (1 / len(strides))] if share_levels else strides
        self.stems = nn.ModuleList(Conv(c, hidden) for c in channels)
        self.cls_convs = nn.ModuleList(_tower(hidden) for _ in owners)
        self.reg_convs = nn.ModuleList(_tower(hidden) for _ in owners)
        self.cls_preds = nn.ModuleList(_predictor(hidden, per_cell * nc, class_prior(nc)) for _ in owners)
        self.reg_preds = nn.ModuleList(nn.Conv2d(hidden, per_cell * 4, 1) for _ in owners)
        self.obj_preds = nn.ModuleList(_predictor(hidden, per_cell, objectness_prior(s)) for s in owners)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Raw maps from the neck's maps, which are left as they are.

        Args:
            features: ``[B, C, h, w]`` by level.

        Returns:
            ``[B, anchors, h, w, 5 + nc]`` by level: tx, ty, tw, th, objectness and class logits.
        """
        raw = []
        for level, (stem, feature) in enumerate(zip(self.stems, features, strict=True)):
            owner = 0 if self.share_levels else level
            x = stem(feature)
            classes, boxes = self.cls_convs[owner](x), self.reg_convs[owner](x)
            columns = (
                self.reg_preds[owner](boxes),
                self.obj_preds[owner](boxes),
                self.cls_preds[owner](classes),
            )
            raw.append(torch.cat([self.by_anchor(out) for out in columns], -1))
        return raw


def _tower(hidden: int) -> nn.Sequential:
    return nn.Sequential(*(Conv(hidden, hidden, kernel=3) for _ in range(TOWER)))


@torch.no_grad()
def _predictor(hidden: int, columns: int, prior: float) -> nn.Conv2d:
    """A 1x1 convolution that is biased to a prior."""
    conv = nn.Conv2d(hidden, columns, 1)
    assert conv.bias is not None
    conv.bias += prior
    return conv
