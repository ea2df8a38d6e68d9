"""Integrated distillation: classes and boxes of all predictions, balanced by one task weight.

    term = weight * (task_weight * L_cls + (1 - task_weight) * L_reg)

The paper distils a YOLOv5s with a decoupled head into a plain one. Their raw maps have the same shape here,
so any teacher with the student's anchors and classes can be used. Both losses are means over the counted
elements (predictions times columns), so the training loop multiplies the term by the batch size.

The paper is inconsistent, so each variant is a setting. Equation 2 compares boxes by a squared distance
(``l2_raw``, the default). The text has a KL divergence of "softmax" outputs without an axis:
``box_softmax_kl`` takes the softmax over the four raw values of a box, ``spatial_kl`` over the cells for each
coordinate, and ``bernoulli_kl`` compares each sigmoid. The algorithm swaps the two sides of the divergence.
Equation 1 compares classes by a squared distance, and the text and the algorithm say that the teacher's
outputs become soft labels "through the SoftMax function": ``cls_loss = l2_softmax`` compares the softmaxes of
both sides over the classes, ``l2_soft_labels`` the student's sigmoids with the teacher's softmax, which are
not 0 for equal predictions. The default ``l2_raw`` compares logits: YOLOv5's classes are independent
sigmoids, and most predictions are background. The task weight is not given, and objectness is not mentioned.
The last equation has no detection loss, the text adds it. The training loop always adds it; a recipe with
``loss.box``, ``loss.obj`` and ``loss.cls`` = 0 trains without it.

Limitations. With ``mask = all`` nearly all elements are background, and the raw objectness there, about -10,
dominates: on street images the unweighted term starts at 60 times the detection loss, with 8 times its
gradient, hence the default weight. A ``dfl`` head has no objectness and 64 logits for each box:
``box_softmax_kl`` is then over the bins of each side (localisation distillation), and settings that need the
sigmoid of a coordinate are errors.

Source: Cheng, Integrated Knowledge Distillation for Efficient One-stage Object Detection Network, 2025,
equations 1 to 4 and algorithm 1, with the variants above; Shu et al., https://arxiv.org/abs/2011.13256
(spatial_kl).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.methods._divergence import bernoulli, categorical
from distill.methods._regions import anchor_assigned, grids_of, task_aligned
from distill.models.head_outputs import BINS, SIDES, HeadColumns, split_columns
from distill.training.distributed import denominator, world_size
from edgestill.errors import UsageError

INPUTS: MethodInputs = "predictions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies the term before it is added to the detection loss; the paper has no such weight.
        task_weight: Weight of the classes, the paper's lambda; boxes have 1 - ``task_weight``.
        cls_loss: Comparison of classes by a squared distance: of logits (``l2_raw``), of both softmaxes
            (``l2_softmax``), or of the student's sigmoids and the teacher's softmax (``l2_soft_labels``).
            Objectness that is compared with the classes is a logit with ``l2_raw``, else a probability.
        reg_loss: Comparison of boxes: ``l2_raw`` and ``l2_sigmoid`` are squared distances of raw values or of
            their sigmoids; see above for the others.
        kl_direction: ``teacher_student`` is KL(teacher || student), with the teacher as the target.
        obj: Objectness is compared as one more class (``cls``), as one more coordinate (``reg``), by a
            squared distance without the task weight (``own``), or not at all (``off``).
        obj_weight: Gain of objectness with ``own``.
        mask: Weights of the predictions: ``all`` counts all alike, ``kdr`` those assigned to a true box, and
            ``teacher`` all by the teacher's objectness (highest class probability for a ``dfl`` head).
        anchor_t: With ``kdr``, the maximum ratio between the sides of box and anchor, as in the detection
            loss.
    """

    weight: float = 0.1
    task_weight: float = 0.5
    cls_loss: Literal["l2_raw", "l2_softmax", "l2_soft_labels"] = "l2_raw"
    reg_loss: Literal["l2_raw", "l2_sigmoid", "bernoulli_kl", "box_softmax_kl", "spatial_kl"] = "l2_raw"
    kl_direction: Literal["teacher_student", "student_teacher"] = "teacher_student"
    obj: Literal["cls", "reg", "own", "off"] = "cls"
    obj_weight: float = 1.0
    mask: Literal["all", "kdr", "teacher"] = "all"
    anchor_t: float = 4.0


class Loss(nn.Module):
    """Distance between the raw classes and boxes of student and teacher."""

    def __init__(self, config: Config, info: StudentTeacherInfo) -> None:
        super().__init__()
        if not 0 <= config.task_weight <= 1:
            raise UsageError(f"task_weight = {config.task_weight}", hint="from 0 (boxes) to 1 (classes)")
        if info.nc == 1 and config.cls_loss != "l2_raw":
            raise UsageError(
                f"cls_loss = {config.cls_loss} with one class: its softmax is always 1",
                hint="--set methods.integrated.cls_loss=l2_raw",
            )
        if info.head == "dfl" and config.reg_loss in {"l2_sigmoid", "bernoulli_kl"}:
            raise UsageError(
                f"reg_loss = {config.reg_loss} needs an anchor head; dfl coordinates have no sigmoid",
                hint="--set methods.integrated.reg_loss=box_softmax_kl",
            )
        if config.reg_loss == "spatial_kl" and config.mask != "all":
            raise UsageError(
                f"mask = {config.mask} with reg_loss = spatial_kl, which is a distribution over all cells",
                hint="--set methods.integrated.mask=all",
            )
        self.config = config
        self._info = info

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """Scalars ``cls`` and ``reg``, and ``obj`` with ``obj = "own"``.

        Args:
            student: Raw maps ``[B, A, h, w, columns]``.
            teacher: Raw maps of the same shapes; detached.
            targets: image, class, cx, cy, w, h, normalised; float32 ``[n, 6]``, n may be 0.
        """
        config, head = self.config, self._info.head
        sides = [
            (split_columns(s, head), split_columns(t.detach(), head))
            for s, t in zip(student.raw, teacher.raw, strict=True)
        ]
        weights = self._weights([t for _, t in sides], teacher, targets)
        share = config.weight * config.task_weight
        terms = {"cls": share * _mean([self._classes(s, t) for s, t in sides], weights)}
        if config.reg_loss == "spatial_kl":
            reg = torch.stack([self._spatial(s, t) for s, t in sides]).mean()
        else:
            reg = _mean([self._boxes(s, t) for s, t in sides], weights)
        terms["reg"] = (config.weight - share) * reg
        if config.obj == "own" and head != "dfl":
            own = _mean([_objectness(s, t) for s, t in sides], weights)
            terms["obj"] = config.weight * config.obj_weight * own
        return terms

    @torch.no_grad()
    def _weights(
        self, teacher_outputs: Sequence[HeadColumns], teacher: NetworkOutputs, targets: Tensor
    ) -> list[Tensor]:
        """Weight of each prediction; ``[B, A, h, w]`` by level."""
        info = self._info
        if self.config.mask == "teacher":
            return [(t.cls.amax(-1) if t.obj is None else t.obj).sigmoid() for t in teacher_outputs]
        if self.config.mask == "all":
            return [torch.ones_like(t.cls[..., 0]) for t in teacher_outputs]
        if info.head == "dfl":
            masks = task_aligned(targets, teacher, info.strides)
        else:
            grids, batch = grids_of(teacher), len(teacher.raw[0])
            masks = anchor_assigned(
                targets, batch, grids, info.anchors_px, info.strides, anchor_t=self.config.anchor_t
            )
        return [mask.float() for mask in masks]

    def _classes(self, student: HeadColumns, teacher: HeadColumns) -> Tensor:
        """Mean squared distance of the classes, with objectness if ``obj = "cls"``."""
        kind = self.config.cls_loss
        if kind == "l2_raw":
            squares = (student.cls - teacher.cls).square()
        else:
            ours = student.cls.softmax(-1) if kind == "l2_softmax" else student.cls.sigmoid()
            squares = (ours - teacher.cls.softmax(-1)).square()
        if self.config.obj == "cls" and student.obj is not None:
            objectness = _objectness(student, teacher, probability=kind != "l2_raw")
            return (squares.sum(-1) + objectness) / (squares.shape[-1] + 1)
        return squares.mean(-1)

    def _boxes(self, student: HeadColumns, teacher: HeadColumns) -> Tensor:
        """Mean distance of the box columns, with objectness if ``obj = "reg"``."""
        s, t = _boxes_of(student, teacher)
        if self.config.reg_loss == "box_softmax_kl":
            s, t = (box.unflatten(-1, (-1, BINS if box.shape[-1] > SIDES else SIDES)) for box in (s, t))
        values = self._distance(s, t)
        if self.config.obj != "reg" or student.obj is None or teacher.obj is None:
            return values.mean(-1)
        if self.config.reg_loss == "box_softmax_kl":  # objectness cannot join a softmax over four coordinates
            objectness = _objectness(student, teacher)
        else:
            objectness = self._distance(student.obj, teacher.obj)
        return (values.sum(-1) + objectness) / (values.shape[-1] + 1)

    def _distance(self, s: Tensor, t: Tensor) -> Tensor:
        """Elementwise distance; ``box_softmax_kl`` is summed over the last axis."""
        kind = self.config.reg_loss
        if kind == "l2_raw":
            return (s - t).square()
        if kind == "l2_sigmoid":
            return (s.sigmoid() - t.sigmoid()).square()
        s, t = self._directed(s, t)
        return bernoulli(s, t) if kind == "bernoulli_kl" else categorical(s, t)

    def _spatial(self, student: HeadColumns, teacher: HeadColumns) -> Tensor:
        """Mean divergence of the distributions of the coordinates over the cells; a scalar."""
        s, t = _boxes_of(student, teacher)
        if self.config.obj == "reg" and student.obj is not None and teacher.obj is not None:
            s = torch.cat((s, student.obj[..., None]), -1)
            t = torch.cat((t, teacher.obj[..., None]), -1)
        s, t = self._directed(s.flatten(2, 3), t.flatten(2, 3))  # [B, A, h * w, columns]
        return categorical(s, t, dim=2).mean()

    def _directed(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The two arguments of a divergence as (approximation, target)."""
        return (s, t) if self.config.kl_direction == "teacher_student" else (t, s)


def _boxes_of(student: HeadColumns, teacher: HeadColumns) -> tuple[Tensor, Tensor]:
    assert student.box is not None
    assert teacher.box is not None
    return student.box, teacher.box


def _objectness(student: HeadColumns, teacher: HeadColumns, *, probability: bool = False) -> Tensor:
    """Squared distance of the objectness, as logits or as probabilities; ``[B, A, h, w]``."""
    assert student.obj is not None
    assert teacher.obj is not None
    if probability:
        return (student.obj.sigmoid() - teacher.obj.sigmoid()).square()
    return (student.obj - teacher.obj).square()


def _mean(values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Weighted mean over all predictions of all levels.

    The sum of the weights counts as at least one for each image, so the noise of a teacher without detections
    is not amplified. Without any weight the result is 0 and still has a gradient.
    """
    total = denominator(torch.stack([w.sum() for w in weights]).sum(), len(weights[0]) * world_size())
    return torch.stack([(v * w).sum() for v, w in zip(values, weights, strict=True)]).sum() / total
