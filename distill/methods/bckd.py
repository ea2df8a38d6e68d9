"""BCKD: every class as a yes or no of its own, and boxes, wherever student and teacher disagree.

- ``cls``: binary cross entropy of the student with the teacher's probability as its target, times how far
  apart the two probabilities are, to the power ``beta``; over all predictions and classes. This factor has a
  gradient too, as in the reference. So much is nothing for equal predictions, and little for easy ones.
- ``loc``: one minus the generalised IoU of the two decoded boxes, times the largest such difference of the
  prediction's classes (without its gradient).

Both are divided by the number of predictions that answer for a true box, and levels without one are left out:
their images have nothing of that size. So both are means over the batch: the loop multiplies them by the
batch size.

The paper's detectors have a probability for each class alone. With an anchor head it is objectness times
class, whose logit is ``-log((1 + e^-o) (1 + e^-c) - 1)``: classes by themselves are trained on objects only,
and mean nothing elsewhere. Who answers for a true box is the head's own rule: the anchors', or with a ``dfl``
head task alignment from the teacher's predictions.

The weights are the paper's. Beside a detection loss of 0.2, a fresh yolov5n with a trained yolov5s begins at
about 4 in all and moves the student's maps ten times as strongly as that; ``weight = 0.1`` is on a par.

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
from distill.methods._regions import aligned, assigned, giou, grids_of
from distill.models.head_outputs import boxes_px, parts
from distill.training.distributed import denominator, mean
from edgestill.spec import Head

INPUTS: MethodInputs = "predictions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies both terms before they join the detection loss.
        cls: Gain of the classes.
        loc: Gain of the boxes.
        beta: Power of the difference that classes are weighed by; 0 weighs all alike.
        anchor_t: An anchor answers for a box whose sides differ by less than this factor, as in the detection
            loss.
    """

    weight: float = 1.0
    cls: float = 1.0
    loc: float = 4.0
    beta: float = 1.0
    anchor_t: float = 4.0


class Loss(nn.Module):
    """Both terms over all levels."""

    def __init__(self, config: Config, pair: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self._pair = pair

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """Scalars ``cls`` and ``loc``.

        Args:
            student: Raw maps ``[B, A, h, w, columns]``.
            teacher: Raw maps of the same shapes and columns; no gradient goes there.
            targets: image, class, cx, cy, w, h, normalised; float32 ``[n, 6]``, n may be 0.
        """
        config, pair = self.config, self._pair
        assert student.head is not None  # what compares predictions is given a teacher that has such a head
        answers = self._answers(teacher, targets)  # [levels]
        anchors = pair.anchors_px or [()] * len(pair.strides)
        levels = [
            disagreement(s, t.detach(), student.head, stride, some, beta=config.beta)
            for s, t, stride, some in zip(student.raw, teacher.raw, pair.strides, anchors, strict=True)
        ]
        heard = (answers > 0) / denominator(answers.sum())
        cls, loc = ((torch.stack(term) * heard).sum() for term in zip(*levels, strict=True))
        return {"cls": config.weight * config.cls * cls, "loc": config.weight * config.loc * loc}

    @torch.no_grad()
    def _answers(self, teacher: NetworkOutputs, targets: Tensor) -> Tensor:
        """Predictions that answer for a true box, by level; mean over the processes of a training."""
        pair = self._pair
        if teacher.head == "dfl":
            masks = aligned(targets, teacher, pair.strides)
        else:
            masks = assigned(
                targets,
                len(teacher.raw[0]),
                grids_of(teacher),
                pair.anchors_px,
                pair.strides,
                anchor_t=self.config.anchor_t,
            )
        return mean(torch.stack([mask.sum() for mask in masks]).float())


def disagreement(
    student: Tensor,
    teacher: Tensor,
    head: Head,
    stride: int,
    anchors_px: Sequence[tuple[float, float]],
    *,
    beta: float,
) -> tuple[Tensor, Tensor]:
    """The two sums of one level.

    Args:
        student: Raw map ``[B, A, h, w, columns]``.
        teacher: Raw map of the same shape.
        head: What the columns are.
        stride: Input pixels per cell.
        anchors_px: Width and height of the level's anchors; not read for ``dfl``.
        beta: See ``Config``.
    """
    ours = class_logits(student, head)
    wanted = class_logits(teacher, head).sigmoid()
    apart = (wanted - ours.sigmoid()).abs()  # [B, A, h, w, nc]
    cross = F.binary_cross_entropy_with_logits(ours, wanted, reduction="none")
    weight = apart.detach().amax(-1).flatten()
    boxes, theirs = (boxes_px(level, head, stride, anchors_px).view(-1, 4) for level in (student, teacher))
    return (apart**beta * cross).sum(), (weight * (1 - giou(boxes, theirs))).sum()


def class_logits(level: Tensor, head: Head) -> Tensor:
    """Logit of the probability that a prediction is an object of each class; ``[B, A, h, w, nc]``."""
    part = parts(level, head)
    if part.obj is None:
        return part.cls
    obj = part.obj[..., None]
    return -torch.logaddexp(torch.logaddexp(-obj, -part.cls), -obj - part.cls)
