"""BCKD: each class as a binary classification, and boxes, both weighted by the disagreement of the networks.

- ``cls``: binary cross entropy with the teacher's probability as the target, times the absolute difference of
  the two probabilities to the power ``beta``, summed over all predictions and classes. The factor has a
  gradient, as in the reference. It is 0 for equal predictions and small for similar ones.
- ``loc``: 1 - GIoU of the two decoded boxes, times the largest such difference over the classes of the
  prediction (detached).

Both are divided by the number of predictions that are assigned to a true box. Levels without any are left
out. So both are means over the batch: the training loop multiplies them by the batch size.

The paper's detectors have one probability for each class. For an anchor head it is objectness times class
probability, with the logit ``-log((1 + e^-o) (1 + e^-c) - 1)``, because the class logits alone are trained on
objects only. Predictions are assigned by the rule of the head: by anchors, or for a ``dfl`` head by task
alignment of the teacher's predictions.

The weights are the paper's. Measured at the start of a training (random yolov5n, trained yolov5s, detection
loss 0.2): the terms sum to about 4, and their gradient on the student's feature maps is ten times that of the
detection loss; ``weight = 0.1`` makes them equal.

Source: Yang et al., Bridging Cross-task Protocol Inconsistency for Distillation in Dense Object Detection,
ICCV 2023, https://arxiv.org/abs/2308.14286, and TinyTigerPan/BCKD (weights, divisor, levels left out).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.methods._regions import anchor_assigned, giou, grids_of, task_aligned
from distill.models.head_outputs import boxes_px, split_columns
from distill.training.distributed import all_reduce_mean, denominator
from edgestill.spec import HeadKind

INPUTS: MethodInputs = "predictions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies both terms before they are added to the detection loss.
        cls: Gain of the classes.
        loc: Gain of the boxes.
        beta: Exponent of the difference that weights the classes; 0 for equal weights.
        anchor_t: Maximum ratio between the sides of a box and of its anchors, as in the detection loss.
    """

    weight: float = 1.0
    cls: float = 1.0
    loc: float = 4.0
    beta: float = 1.0
    anchor_t: float = 4.0


class Loss(nn.Module):
    """Both terms over all levels."""

    def __init__(self, config: Config, info: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self._info = info

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """Scalars ``cls`` and ``loc``.

        Args:
            student: Raw maps ``[B, A, h, w, columns]``.
            teacher: Raw maps of the same shapes and columns; detached.
            targets: image, class, cx, cy, w, h, normalised; float32 ``[n, 6]``, n may be 0.
        """
        config, info = self.config, self._info
        assert student.head is not None  # checked for methods with INPUTS = "predictions"
        assigned = self._assigned(teacher, targets)  # [levels]
        anchors = info.anchors_px or [()] * len(info.strides)
        levels = [
            disagreement(s, t.detach(), student.head, stride, some, beta=config.beta)
            for s, t, stride, some in zip(student.raw, teacher.raw, info.strides, anchors, strict=True)
        ]
        weights = (assigned > 0) / denominator(assigned.sum())
        cls, loc = ((torch.stack(term) * weights).sum() for term in zip(*levels, strict=True))
        return {"cls": config.weight * config.cls * cls, "loc": config.weight * config.loc * loc}

    @torch.no_grad()
    def _assigned(self, teacher: NetworkOutputs, targets: Tensor) -> Tensor:
        """Number of predictions assigned to a true box, by level; mean over the processes."""
        info = self._info
        if teacher.head == "dfl":
            masks = task_aligned(targets, teacher, info.strides)
        else:
            masks = anchor_assigned(
                targets,
                len(teacher.raw[0]),
                grids_of(teacher),
                info.anchors_px,
                info.strides,
                anchor_t=self.config.anchor_t,
            )
        return all_reduce_mean(torch.stack([mask.sum() for mask in masks]).float())


def disagreement(
    student: Tensor,
    teacher: Tensor,
    head: HeadKind,
    stride: int,
    anchors_px: Sequence[tuple[float, float]],
    *,
    beta: float,
) -> tuple[Tensor, Tensor]:
    """The two sums of one level.

    Args:
        student: Raw map ``[B, A, h, w, columns]``.
        teacher: Raw map of the same shape.
        head: Kind of head.
        stride: Input pixels per cell.
        anchors_px: Width and height of the level's anchors, input pixels; unused for ``dfl``.
        beta: See ``Config``.
    """
    ours = class_logits(student, head)
    wanted = class_logits(teacher, head).sigmoid()
    difference = (wanted - ours.sigmoid()).abs()  # [B, A, h, w, nc]
    cross = F.binary_cross_entropy_with_logits(ours, wanted, reduction="none")
    weight = difference.detach().amax(-1).flatten()
    boxes, theirs = (boxes_px(level, head, stride, anchors_px).view(-1, 4) for level in (student, teacher))
    return (difference**beta * cross).sum(), (weight * (1 - giou(boxes, theirs))).sum()


def class_logits(level: Tensor, head: HeadKind) -> Tensor:
    """Logit of the probability that a prediction is an object of each class; ``[B, A, h, w, nc]``."""
    part = split_columns(level, head)
    if part.obj is None:
        return part.cls
    obj = part.obj[..., None]
    return -torch.logaddexp(torch.logaddexp(-obj, -part.cls), -obj - part.cls)
