"""Anchor-free head of YOLOv5u, from the ``ultralytics`` package: a box is four distances from a cell centre.

Each distance is a distribution over 16 bins. Modules, their names and initial values come from that package.
The layout of the raw maps is that of the other heads, with one anchor for each cell.

Source: ``Detect`` of ultralytics/nn/modules/head.py, https://github.com/ultralytics/ultralytics, used as a
library; the distribution: Li et al., Generalized Focal Loss, https://arxiv.org/abs/2006.04388.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.checkpoints.ultralytics_import import import_ultralytics
from distill.models.head import DetectionHead
from distill.models.head_outputs import BINS, boxes_px, split_columns
from edgestill.architecture import BN_EPS, BN_MOMENTUM

BOX_BIAS = 2.0  # for all bins, so the initial distribution is uniform


class Dfl(DetectionHead):
    """Head with two towers for each level, one for the distances and one for the classes.

    Args:
        nc: Number of classes.
        channels: Channels of the neck's feature maps, by level.
        strides: Input pixels per cell, by level.

    Raises:
        DeviceError: ``ultralytics`` is not installed.
    """

    kind = "dfl"
    layout = "yolov8"
    cv2: nn.ModuleList
    cv3: nn.ModuleList
    dfl: nn.Module

    def __init__(self, nc: int, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__(nc, strides)
        detect = import_ultralytics("nn.modules.head", "the dfl head").Detect
        # YOLOv5u has full 3x3 convolutions in its class towers, which the package calls legacy.
        modules = type("Detect", (detect,), {"legacy": True})(nc=nc, reg_max=BINS, ch=tuple(channels))
        self.cv2, self.cv3, self.dfl = modules.cv2, modules.cv3, modules.dfl
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = BN_EPS, BN_MOMENTUM
            elif hasattr(module, "act"):
                module.act = nn.SiLU()  # the package shares one object between all modules
        self._set_priors()

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Raw maps from the feature maps of the neck, which are not modified.

        Args:
            features: ``[B, C, h, w]`` by level.

        Returns:
            ``[B, 1, h, w, 64 + nc]`` by level: logits of the distances left, top, right and bottom, 16 bins
            each, then class logits.
        """
        raw = []
        for box, classes, feature in zip(self.cv2, self.cv3, features, strict=True):
            out = torch.cat((box(feature), classes(feature)), 1)
            raw.append(out.permute(0, 2, 3, 1).contiguous().unsqueeze(1))
        return raw

    def decode(self, raw: Sequence[Tensor]) -> Tensor:
        """Boxes and probabilities from raw maps.

        Returns:
            float32 ``[B, 4 + nc, A]``: cx, cy, w, h in input pixels, class probabilities. The last axis is
            ordered by level, then y, then x.
        """
        columns = []
        for level, stride in zip((level.float() for level in raw), self.strides, strict=True):
            low, high = boxes_px(level, "dfl", stride).chunk(2, -1)
            classes = split_columns(level, "dfl").cls.sigmoid()
            rows = torch.cat(((low + high) / 2, high - low, classes), -1)  # [B, 1, h, w, 4 + nc]
            columns.append(rows.flatten(1, 3).transpose(1, 2))
        return torch.cat(columns, 2)

    @torch.no_grad()
    def _set_priors(self) -> None:
        """Initial biases of the last layers; the class prior is 5 objects in an image of 640 x 640."""
        for level, stride in enumerate(self.strides):
            self.get_submodule(f"cv2.{level}.2").bias.fill_(BOX_BIAS)  # type: ignore[operator]
            prior = math.log(5 / self.nc / (640 / stride) ** 2)
            self.get_submodule(f"cv3.{level}.2").bias.fill_(prior)  # type: ignore[operator]
