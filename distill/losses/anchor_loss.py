"""Detection loss of an anchor head: CIoU of the boxes, binary cross entropy of objectness and classes.

Convention: the total is multiplied by the batch size, as in the original. A distillation term that is a mean
over the batch must be multiplied by it too; otherwise its weight would depend on the batch size.

Source: utils/loss.py of https://github.com/ultralytics/yolov5, tag v7.0 (formulas only); CIoU: Zheng et al.,
https://arxiv.org/abs/1911.08287.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.losses.anchor_assigner import Assignment, build_targets
from distill.training.distributed import denominator
from edgestill.errors import UsageError
from edgestill.spec import ModelSpec

TINY = 1e-7  # avoids a division by 0 for an empty box


@dataclass(frozen=True, slots=True, kw_only=True)
class LossGains:
    """Weights of the terms, for 3 levels, 80 classes and 640 x 640 pixels; ``AnchorLoss`` scales them.

    Attributes:
        box: Weight of the box term.
        obj: Weight of the objectness term.
        cls: Weight of the class term.
        anchor_t: Maximum ratio between the sides of a box and of its anchors.
        balance: Weight of objectness by level, because fine levels have more empty cells.
        label_smoothing: Label smoothing of the classes; 0 for none.
    """

    box: float = 0.05
    obj: float = 1.0
    cls: float = 0.5
    anchor_t: float = 4.0
    balance: tuple[float, ...] = (4.0, 1.0, 0.4)
    label_smoothing: float = 0.0


class AnchorLoss:
    """Loss of raw maps and true boxes, computed in float32 for any dtype of the network.

    Args:
        spec: The model's contract: classes, strides, anchors and the input size that scales objectness.
        hyp: Weights of the terms.

    Raises:
        UsageError: ``balance`` has the wrong number of entries.
    """

    def __init__(self, spec: ModelSpec, hyp: LossGains | None = None) -> None:
        self.spec = spec
        self.hyp = LossGains() if hyp is None else hyp
        levels = len(spec.strides)
        if len(self.hyp.balance) != levels:
            raise UsageError(
                f"balance has {len(self.hyp.balance)} entries, the model has {levels} levels",
                hint="give one weight for each level, from fine to coarse, e.g. balance = [4.0, 1.0, 0.4]",
            )
        height, width = spec.input_hw
        self.gain_box = self.hyp.box * 3 / levels
        self.gain_obj = self.hyp.obj * 3 / levels * (height * width) / 640**2
        self.gain_cls = self.hyp.cls * 3 / levels * spec.nc / 80

    def __call__(self, raw: Sequence[Tensor], targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of a batch.

        Args:
            raw: ``[B, anchors, h, w, 5 + nc]`` by level, any float type.
            targets: Image, class, cx, cy, w, h (normalised to the input); float32 ``[n, 6]``, n may be 0.

        Returns:
            The total times the batch size (a scalar with a gradient), and its detached, weighted terms
            ``box``, ``obj``, ``cls`` per image.
        """
        maps = [level.float() for level in raw]  # autocast keeps all operations below in float32
        assigned = build_targets(
            targets.to(maps[0].device, torch.float32),
            [(level.shape[2], level.shape[3]) for level in maps],
            self.spec.anchors_px,
            self.spec.strides,
            anchor_t=self.hyp.anchor_t,
        )
        levels = [
            self._level(level, match, balance)
            for level, match, balance in zip(maps, assigned, self.hyp.balance, strict=True)
        ]
        box, obj, cls = (torch.stack(term).sum() for term in zip(*levels, strict=True))
        parts = {"box": box * self.gain_box, "obj": obj * self.gain_obj, "cls": cls * self.gain_cls}
        total = (parts["box"] + parts["obj"] + parts["cls"]) * len(maps[0])
        return total, {name: part.detach() for name, part in parts.items()}

    def _level(self, level: Tensor, match: Assignment, balance: float) -> tuple[Tensor, Tensor, Tensor]:
        """The three unweighted terms of one level."""
        objectness = level[..., 4]
        wanted = torch.zeros_like(objectness)
        box = cls = level.new_zeros(())
        count = denominator(
            level.new_tensor(float(len(match)))
        )  # outside of the branch: a collective operation
        if len(match):
            _, anchors, height, width, columns = level.shape
            cell = ((match.image * anchors + match.anchor) * height + match.y) * width + match.x
            row = level.view(-1, columns).index_select(
                0, cell
            )  # [M, 5 + nc]; index_select has a cheaper backward pass
            p = row[:, :4].sigmoid()
            predicted = torch.cat((2 * p[:, :2] - 0.5, (2 * p[:, 2:]) ** 2 * match.anchor_wh), 1)
            overlap = ciou(predicted, match.box)
            box = (1 - overlap).sum() / count
            last = _last_of_each(cell)
            wanted.view(-1)[cell[last]] = overlap.detach().clamp(min=0)[last]
            if self.spec.nc > 1:  # with one class, objectness is enough
                cls = self._classes(row[:, 5:], match.class_id) / count
        return box, balance * F.binary_cross_entropy_with_logits(objectness, wanted), cls

    def _classes(self, logits: Tensor, class_id: Tensor) -> Tensor:
        """Cross entropy, mean over the classes, sum over the rows; logits ``[M, nc]``, class_id ``[M]``."""
        smooth = self.hyp.label_smoothing
        wanted = torch.full_like(logits, smooth / 2)
        wanted[torch.arange(len(class_id), device=class_id.device), class_id] = 1 - smooth / 2
        return F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / self.spec.nc


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU of paired boxes: IoU less penalties for centre distance and aspect ratio.

    Args:
        a: cx, cy, w, h in any unit, with w and h >= 0; ``[M, 4]``.
        b: Boxes in the same unit, with w and h > 0; ``[M, 4]``.

    Returns:
        ``[M]``, at most 1. The weight of the aspect ratio term is detached, as in the paper.
    """
    a_low, a_high = a[:, :2] - a[:, 2:] / 2, a[:, :2] + a[:, 2:] / 2
    b_low, b_high = b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2
    shared = (torch.minimum(a_high, b_high) - torch.maximum(a_low, b_low)).clamp(min=0)
    inter = shared[:, 0] * shared[:, 1]
    iou = inter / (a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - inter + TINY)
    hull = torch.maximum(a_high, b_high) - torch.minimum(a_low, b_low)
    distance = ((a[:, :2] - b[:, :2]) ** 2).sum(1) / ((hull**2).sum(1) + TINY)
    angle_a, angle_b = (torch.atan(box[:, 2] / box[:, 3].clamp(min=TINY)) for box in (a, b))
    aspect = 4 / math.pi**2 * (angle_b - angle_a) ** 2
    with torch.no_grad():
        weight = aspect / (aspect - iou + 1 + TINY)
    return iou - distance - weight * aspect


def _last_of_each(cell: Tensor) -> Tensor:
    """Index of the last entry of each distinct value; makes the assignment deterministic on every device."""
    order = torch.argsort(cell, stable=True)
    ordered = cell[order]
    ends = torch.ones_like(ordered, dtype=torch.bool)
    ends[:-1] = ordered[1:] != ordered[:-1]
    return order[ends]
