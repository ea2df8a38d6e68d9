"""Fine-grained feature imitation: copy the teacher's maps near objects, and only there.

A cell counts if one of its anchors overlaps a true box by more than ``psi`` times the best overlap that this
box has anywhere. The paper has one level; here the best overlap is sought over all anchors of all levels, so
that a small object is imitated mainly on the fine level, and each level looks at its own anchors. The loss is
the mean over the levels that have such cells. It is a mean over the batch: the loop multiplies it by the
batch size.

Source: Wang et al., Distilling Object Detectors with Fine-grained Feature Imitation, CVPR 2019,
https://arxiv.org/abs/1906.03609.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from distill.methods._adapter import Adapter, align
from distill.views import Compares, Pair, View

COMPARES: Compares = "features"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies the term before it joins the detection loss; the paper's lambda.
        psi: Fraction of a box's best overlap above which a cell counts; 0 is every cell that overlaps.
        adapter: What widens the student's maps to the teacher's channels.
        activation: Behind the adapter. The paper has ReLU, which can never be negative; YOLOv5's maps are.
        reduction: ``paper`` sums the squared differences over the channels, ``channel_mean`` averages them.
    """

    weight: float = 0.01
    psi: float = 0.5
    adapter: Adapter = "conv3x3"
    activation: Literal["none", "relu"] = "none"
    reduction: Literal["paper", "channel_mean"] = "paper"


class Loss(nn.Module):
    """Squared distance between adapted student and teacher maps on the cells near objects."""

    def __init__(self, config: Config, pair: Pair) -> None:
        super().__init__()
        self.config = config
        self._pair = pair
        self.align = align(pair, config.adapter)
        self.activation = nn.ReLU() if config.activation == "relu" else nn.Identity()

    def forward(self, student: View, teacher: View, targets: Tensor) -> dict[str, Tensor]:
        """One scalar.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes; no gradient goes there.
            targets: image, class, cx, cy, w, h, normalised; float32 ``[n, 6]``, n may be 0.
        """
        levels = list(teacher.features)
        batch = len(teacher.features[levels[0]])
        grids = [(m.shape[2], m.shape[3]) for m in teacher.features.values()]
        masks = imitation_masks(
            targets, batch, grids, self._pair.anchors_px, self._pair.strides, psi=self.config.psi
        )
        terms, used = [], []
        for level, mask in zip(levels, masks, strict=True):
            adapted = self.activation(self.align[level](student.features[level]))
            terms.append(self._level(adapted, teacher.features[level].detach(), mask))
            used.append(mask.any())
        levels_used = torch.stack(used).sum().clamp(min=1)  # none: the sum is a zero that has a graph
        return {"imitation": self.config.weight * torch.stack(terms).sum() / levels_used}

    def _level(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """``sum(mask * (S - T)^2) / (2 * cells)``; mask ``[B, h, w]``."""
        squares = (student - teacher) ** 2
        per_cell = squares.sum(1) if self.config.reduction == "paper" else squares.mean(1)  # [B, h, w]
        return (per_cell * mask).sum() / (2 * mask.sum().clamp(min=1))


def imitation_masks(
    targets: Tensor,
    batch: int,
    grids: Sequence[tuple[int, int]],
    anchors_px: Sequence[Sequence[tuple[float, float]]],
    strides: Sequence[int],
    *,
    psi: float,
) -> list[Tensor]:
    """The cells near objects.

    Args:
        targets: image, class, cx, cy, w, h, normalised; float32 ``[n, 6]``.
        batch: Number of images.
        grids: Rows and columns of each level's map.
        anchors_px: Anchor width and height, input pixels, by level.
        strides: Input pixels per cell, by level.
        psi: A cell counts if an overlap is above this fraction of the box's best one; strictly above.

    Returns:
        bool ``[B, rows, columns]`` by level.
    """
    device = targets.device
    size = targets.new_tensor([grids[0][1] * strides[0], grids[0][0] * strides[0]])  # width, height, px
    boxes = torch.cat((targets[:, 2:4] - targets[:, 4:6] / 2, targets[:, 2:4] + targets[:, 4:6] / 2), 1)
    boxes = boxes * size.repeat(2)
    overlaps = [
        _overlaps(boxes, _anchor_boxes(grid, anchors, stride, device))  # [n, rows, columns, anchors]
        for grid, anchors, stride in zip(grids, anchors_px, strides, strict=True)
    ]
    masks = [torch.zeros((batch, *grid), dtype=torch.bool, device=device) for grid in grids]
    if not len(targets):
        return masks
    limits = psi * torch.stack([o.flatten(1).amax(1) for o in overlaps]).amax(0)  # [n]
    image = targets[:, 0].long()
    for mask, overlap in zip(masks, overlaps, strict=True):
        near = (overlap > limits.view(-1, 1, 1, 1)).any(-1)  # [n, rows, columns]
        # An "or" over the boxes of an image: how many there are, and in which order, makes no difference.
        mask.logical_or_(torch.zeros_like(mask, dtype=torch.int32).index_add_(0, image, near.int()) > 0)
    return masks


def _anchor_boxes(
    grid: tuple[int, int], anchors_px: Sequence[tuple[float, float]], stride: int, device: torch.device
) -> Tensor:
    """Corners of every anchor at every cell's centre, input pixels; ``[rows, columns, anchors, 4]``."""
    y, x = torch.meshgrid(
        (torch.arange(grid[0], device=device) + 0.5) * stride,
        (torch.arange(grid[1], device=device) + 0.5) * stride,
        indexing="ij",
    )
    centre = torch.stack((x, y), -1)[:, :, None]  # [rows, columns, 1, 2]
    half = torch.tensor(anchors_px, dtype=torch.float32, device=device) / 2  # [anchors, 2]
    return torch.cat((centre - half, centre + half), -1)


def _overlaps(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Intersection over union of boxes ``[n, 4]`` with anchors ``[..., 4]``: ``[n, ...]``."""
    shape = anchors.shape[:-1]
    flat = anchors.reshape(-1, 4)
    low = torch.maximum(boxes[:, None, :2], flat[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], flat[None, :, 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)[:, None] + (flat[:, 2:] - flat[:, :2]).prod(-1)[None]
    return (inter / (area - inter).clamp(min=1e-9)).view(len(boxes), *shape)
