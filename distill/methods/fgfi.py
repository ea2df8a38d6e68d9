"""Fine-grained feature imitation: match the teacher's feature maps in the cells near objects.

A cell counts if the IoU of one of its anchors with a true box is above ``psi`` times the best IoU of this
box. The term is half the mean of the squared differences over these cells, summed over the channels. It is a
mean over the batch: the training loop multiplies it by the batch size.

The paper has one level; ``scope`` extends it to several. ``global``: the best IoU is taken over all anchors
of all levels, so a small object counts mainly on the fine level. ``assigned``: a box counts on the levels to
which it is assigned in training, with the best IoU on each (the author's advice). ``level``: every box counts
on every level, with the best IoU there, however small; two reports of this variant were below training
without it.

For a student without anchors, each cell has one square of five strides (``distill.methods._regions``).

Limitations. Because of the sum over channels, the term grows with the teacher's width. The paper's adapter
ends in a ReLU, but YOLOv5's maps have negative values down to -0.28, so the default has none. The 3x3 adapter
has as many weights as a student; it is computed for the counted cells only, which gives the same values in
less time.

Measured before the first step on rendered scenes (random yolov5n, trained yolov5s, 320 x 320 pixels,
detection loss 0.2; ``distill.profiling.term_size``): the term is twice the detection loss, and its gradient
on the student's feature maps three times that of the detection loss.

Source: Wang et al., Distilling Object Detectors with Fine-grained Feature Imitation, CVPR 2019,
https://arxiv.org/abs/1906.03609; https://github.com/twangnh/Distilling-Object-Detectors, issue 17 (levels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.methods._adapter import Adapter, align
from distill.methods._regions import BOXES_PER_CHUNK, Grids, PriorsPx, corners_of, overlaps, priors_px
from distill.training.distributed import all_reduce_mean

INPUTS: MethodInputs = "features"
TINY = 1e-9
Scope = Literal["global", "assigned", "level"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies the term before it is added to the detection loss; the paper's lambda.
        scope: Levels on which a box counts, see above; with the paper's single level all are the same.
        psi: Fraction of a box's best IoU above which a cell counts; 0 for every cell that overlaps. The paper
            has 0.5.
        adapter: Layer from the student's channels to the teacher's; the paper has ``conv3x3``.
        activation: Activation after the adapter; the paper has ``relu``.
        reduction: ``paper`` sums the squared differences over the channels, ``channel_mean`` averages them.
        combine: ``mean`` is over the levels that have such cells, ``pooled`` over all such cells.
        anchor_t: With ``assigned``, the maximum ratio between the sides of box and anchor, as in the
            detection loss.
    """

    weight: float = 0.01
    scope: Scope = "global"
    psi: float = 0.5
    adapter: Adapter = "conv3x3"
    activation: Literal["none", "relu"] = "none"
    reduction: Literal["paper", "channel_mean"] = "paper"
    combine: Literal["mean", "pooled"] = "mean"
    anchor_t: float = 4.0


class Loss(nn.Module):
    """Squared distance between adapted student and teacher maps on the cells near objects."""

    def __init__(self, config: Config, info: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self._strides = info.strides
        self._priors = priors_px(info.anchors_px, info.strides)
        self.align = align(info, config.adapter)

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """One scalar.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes; detached.
            targets: image, class, cx, cy, w, h, normalised; float32 ``[n, 6]``, n may be 0.
        """
        config, maps = self.config, list(teacher.features.values())
        masks = imitation_masks(
            targets,
            len(maps[0]),
            [(m.shape[2], m.shape[3]) for m in maps],
            self._priors,
            self._strides,
            psi=config.psi,
            scope=config.scope,
            anchor_t=config.anchor_t,
        )
        sums = torch.stack(
            [
                self._level(
                    self.align[level], student.features[level], teacher.features[level].detach(), mask
                )
                for level, mask in zip(teacher.features, masks, strict=True)
            ]
        )
        cells = all_reduce_mean(torch.stack([mask.sum() for mask in masks]).float())
        # Without any cell the term is 0 and still has a gradient.
        if config.combine == "pooled":
            term = sums.sum() / (2 * cells.sum().clamp(min=TINY))
        else:
            term = (sums / (2 * cells.clamp(min=TINY))).sum() / (cells > 0).sum().clamp(min=1)
        return {"imitation": config.weight * term}

    def _level(self, adapter: nn.Module, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """``sum(mask * (S - T)^2)``; mask ``[B, h, w]``."""
        cells = mask.flatten().nonzero()[:, 0]
        adapted = adapted_at(adapter, student, cells)
        if self.config.activation == "relu":
            adapted = adapted.relu()
        wanted = teacher.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, cells)
        squares = (adapted - wanted).square().sum()
        return squares if self.config.reduction == "paper" else squares / wanted.shape[1]


def adapted_at(adapter: nn.Module, maps: Tensor, cells: Tensor) -> Tensor:
    """Output of an adapter for maps ``[B, C, h, w]`` in some cells only; ``[M, Ct]``.

    Args:
        adapter: A convolution of odd size, stride 1 and full padding, or an identity.
        maps: Feature maps of the student.
        cells: Flat indices of the cells over images, rows and columns; int64 ``[M]``.
    """
    _, channels, height, width = maps.shape
    reach = adapter.kernel_size[0] // 2 if isinstance(adapter, nn.Conv2d) else 0
    wide = width + 2 * reach
    rows = F.pad(maps, [reach] * 4).permute(0, 2, 3, 1).reshape(-1, channels)
    image, y, x = cells // (height * width), cells // width % height, cells % width
    corner = (image * (height + 2 * reach) + y) * wide + x
    step = torch.arange(2 * reach + 1, device=cells.device)
    window = (step[:, None] * wide + step).flatten()  # offsets from the corner of the window to its cells
    picked = rows.index_select(0, (corner[:, None] + window).flatten())
    picked = picked.view(len(cells), len(window) * channels)
    if not isinstance(adapter, nn.Conv2d):
        return picked
    return F.linear(picked, adapter.weight.permute(0, 2, 3, 1).flatten(1), adapter.bias)


@torch.no_grad()
def imitation_masks(
    targets: Tensor,
    batch: int,
    grids: Grids,
    priors: PriorsPx,
    strides: Sequence[int],
    *,
    psi: float,
    scope: Scope = "global",
    anchor_t: float = 4.0,
) -> list[Tensor]:
    """Masks of the cells near objects.

    Args:
        targets: image, class, cx, cy, w, h, normalised; float32 ``[n, 6]``.
        batch: Number of images.
        grids: Rows and columns of each level's map.
        priors: Width and height of the anchors, input pixels, by level.
        strides: Input pixels per cell, by level.
        psi: A cell counts if an IoU is strictly above this fraction of the box's best one.
        scope: Over which levels the best IoU is taken.
        anchor_t: With ``assigned``, the maximum ratio between the sides of box and anchor.

    Returns:
        bool ``[B, rows, columns]`` by level.
    """
    masks = [torch.zeros((batch, *grid), dtype=torch.bool, device=targets.device) for grid in grids]
    images, corners = targets[:, 0].long(), corners_of(targets, grids, strides)
    for image, boxes in zip(images.split(BOXES_PER_CHUNK), corners.split(BOXES_PER_CHUNK), strict=True):
        levels = [overlaps(boxes, *shape) for shape in zip(grids, priors, strides, strict=True)]
        best = torch.stack([level.flatten(1).amax(1) for level in levels])  # [levels, n]
        if scope == "global":
            best = best.amax(0).expand_as(best)
        limits = psi * best
        if scope == "assigned":
            assigned = torch.stack([_is_assigned(boxes, level, anchor_t) for level in priors])
            limits = limits.masked_fill(~assigned, torch.inf)
        for mask, level, limit in zip(masks, levels, limits, strict=True):
            box, y, x = (level.amax(1) > limit.view(-1, 1, 1)).nonzero(as_tuple=True)
            mask[image[box], y, x] = True  # independent of the number and order of boxes
    return masks


def _is_assigned(boxes: Tensor, priors: Sequence[tuple[float, float]], anchor_t: float) -> Tensor:
    """Whether ``anchor_assigner`` assigns boxes ``[n, 4]`` to an anchor of a level; bool ``[n]``."""
    ratio = (boxes[:, 2:] - boxes[:, :2])[:, None] / boxes.new_tensor(priors)  # [n, A, 2]
    return (torch.maximum(ratio, 1 / ratio).amax(-1) < anchor_t).any(1)
