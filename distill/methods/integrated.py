"""Integrated distillation: classes and boxes of every prediction, the two balanced by one task weight.

    term = weight * (task_weight * L_cls + (1 - task_weight) * L_reg)

The paper teaches a YOLOv5s by one with a decoupled head; both give raw maps of the same shape here, so any
teacher with the student's anchors and classes will do. Both losses are means over the elements that count
(predictions times columns), so the loop multiplies the term by the batch size.

The paper contradicts itself; each reading is a setting. Its equation 2 compares boxes by a squared distance
(``l2_raw``, the default), its text by a KL divergence of "softmax" outputs, without saying over which axis:
``box_softmax_kl`` takes the four raw values of a box as a distribution (they are not one), ``spatial_kl``
each coordinate over the cells of the map, ``bernoulli_kl`` each sigmoid by itself. Its algorithm swaps the
sides of the divergence. The task weight is not given, objectness is not mentioned, and its last equation
leaves out the detection loss that the text adds. The training loop always adds that loss, as for every
method; a recipe that sets ``loss.box``, ``loss.obj`` and ``loss.cls`` to 0 trains without it.

Known traps. With ``mask = all`` nearly all elements are background, and the raw objectness there, around -10,
outweighs all else: on street images the bare term starts at 60 times the detection loss, with 8 times its
gradient, hence the weight. A ``dfl`` head has no objectness and 64 logits a box: ``box_softmax_kl`` is then
over the bins of each side, which is localisation distillation, and the settings that take a sigmoid of a
coordinate are refused.

Source: Cheng, Integrated Knowledge Distillation for Efficient One-stage Object Detection Network, 2025,
equations 1 to 4 and algorithm 1, with the readings above; Shu et al., https://arxiv.org/abs/2011.13256
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
from distill.methods._regions import aligned, assigned, grids_of
from distill.models.head_outputs import BINS, SIDES, Parts, parts
from distill.training.distributed import denominator, processes
from edgestill.errors import UsageError

INPUTS: MethodInputs = "predictions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies the term before it joins the detection loss; the paper adds them as they are.
        task_weight: The paper's lambda: the share of the classes; the boxes have the rest.
        reg_loss: How boxes are compared: ``l2_raw`` and ``l2_sigmoid`` by squared distance of raw values or
            of their sigmoids; see above for the others.
        kl_direction: ``teacher_student`` is KL(teacher || student), where the teacher is the target.
        obj: Whether objectness is compared as one more class (``cls``), as one more coordinate (``reg``), by
            a squared distance outside of the task weight (``own``), or not (``off``).
        obj_weight: Its gain if it stands on its own.
        mask: Which predictions count: ``all``, those that answer for a true box (``kdr``), or all by the
            teacher's objectness (``teacher``; by its highest class probability for a ``dfl`` head).
        anchor_t: With ``kdr``, the ratio within which an anchor answers, as in the detection loss.
    """

    weight: float = 0.1
    task_weight: float = 0.5
    reg_loss: Literal["l2_raw", "l2_sigmoid", "bernoulli_kl", "box_softmax_kl", "spatial_kl"] = "l2_raw"
    kl_direction: Literal["teacher_student", "student_teacher"] = "teacher_student"
    obj: Literal["cls", "reg", "own", "off"] = "cls"
    obj_weight: float = 1.0
    mask: Literal["all", "kdr", "teacher"] = "all"
    anchor_t: float = 4.0


class Loss(nn.Module):
    """Distance from the teacher's raw classes and boxes."""

    def __init__(self, config: Config, pair: StudentTeacherInfo) -> None:
        super().__init__()
        if not 0 <= config.task_weight <= 1:
            raise UsageError(f"task_weight = {config.task_weight}", hint="from 0 (boxes) to 1 (classes)")
        if pair.head == "dfl" and config.reg_loss in {"l2_sigmoid", "bernoulli_kl"}:
            raise UsageError(
                f"reg_loss = {config.reg_loss} is for anchor heads; a dfl head has no sigmoid in its boxes",
                hint="--set methods.integrated.reg_loss=box_softmax_kl",
            )
        if config.reg_loss == "spatial_kl" and config.mask != "all":
            raise UsageError(
                f"mask = {config.mask} with reg_loss = spatial_kl, a distribution over all cells",
                hint="--set methods.integrated.mask=all",
            )
        self.config = config
        self._pair = pair

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """Scalars ``cls`` and ``reg``, and ``obj`` if it stands on its own.

        Args:
            student: Raw maps ``[B, A, h, w, columns]``.
            teacher: Raw maps of the same shapes; no gradient goes there.
            targets: image, class, cx, cy, w, h, normalised; float32 ``[n, 6]``, n may be 0.
        """
        config, head = self.config, self._pair.head
        sides = [
            (parts(s, head), parts(t.detach(), head)) for s, t in zip(student.raw, teacher.raw, strict=True)
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
        self, teacher_outputs: Sequence[Parts], teacher: NetworkOutputs, targets: Tensor
    ) -> list[Tensor]:
        """How much each prediction counts; ``[B, A, h, w]`` by level."""
        pair = self._pair
        if self.config.mask == "teacher":
            return [(t.cls.amax(-1) if t.obj is None else t.obj).sigmoid() for t in teacher_outputs]
        if self.config.mask == "all":
            return [torch.ones_like(t.cls[..., 0]) for t in teacher_outputs]
        if pair.head == "dfl":
            masks = aligned(targets, teacher, pair.strides)
        else:
            grids, batch = grids_of(teacher), len(teacher.raw[0])
            masks = assigned(
                targets, batch, grids, pair.anchors_px, pair.strides, anchor_t=self.config.anchor_t
            )
        return [mask.float() for mask in masks]

    def _classes(self, student: Parts, teacher: Parts) -> Tensor:
        """Mean squared distance of the class logits, with objectness if it is one of them."""
        squares = (student.cls - teacher.cls).square()
        if self.config.obj == "cls" and student.obj is not None:
            return (squares.sum(-1) + _objectness(student, teacher)) / (squares.shape[-1] + 1)
        return squares.mean(-1)

    def _boxes(self, student: Parts, teacher: Parts) -> Tensor:
        """Mean distance of the box columns, with objectness if it is one of them."""
        s, t = _boxes_of(student, teacher)
        if self.config.reg_loss == "box_softmax_kl":
            s, t = (box.unflatten(-1, (-1, BINS if box.shape[-1] > SIDES else SIDES)) for box in (s, t))
        values = self._distance(s, t)
        if self.config.obj != "reg" or student.obj is None or teacher.obj is None:
            return values.mean(-1)
        if self.config.reg_loss == "box_softmax_kl":  # it has no place among the four
            objectness = _objectness(student, teacher)
        else:
            objectness = self._distance(student.obj, teacher.obj)
        return (values.sum(-1) + objectness) / (values.shape[-1] + 1)

    def _distance(self, s: Tensor, t: Tensor) -> Tensor:
        """Element by element; ``box_softmax_kl`` sums the last axis away."""
        kind = self.config.reg_loss
        if kind == "l2_raw":
            return (s - t).square()
        if kind == "l2_sigmoid":
            return (s.sigmoid() - t.sigmoid()).square()
        s, t = self._directed(s, t)
        return bernoulli(s, t) if kind == "bernoulli_kl" else categorical(s, t)

    def _spatial(self, student: Parts, teacher: Parts) -> Tensor:
        """Mean divergence of every coordinate's distribution over the cells; a scalar."""
        s, t = _boxes_of(student, teacher)
        if self.config.obj == "reg" and student.obj is not None and teacher.obj is not None:
            s = torch.cat((s, student.obj[..., None]), -1)
            t = torch.cat((t, teacher.obj[..., None]), -1)
        s, t = self._directed(s.flatten(2, 3), t.flatten(2, 3))  # [B, A, h * w, columns]
        return categorical(s, t, dim=2).mean()

    def _directed(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The two sides of a divergence as (approximation, target)."""
        return (s, t) if self.config.kl_direction == "teacher_student" else (t, s)


def _boxes_of(student: Parts, teacher: Parts) -> tuple[Tensor, Tensor]:
    assert student.box is not None
    assert teacher.box is not None
    return student.box, teacher.box


def _objectness(student: Parts, teacher: Parts) -> Tensor:
    """Squared distance of the objectness logits; ``[B, A, h, w]``."""
    assert student.obj is not None
    assert teacher.obj is not None
    return (student.obj - teacher.obj).square()


def _mean(values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Weighted mean over all predictions of all levels.

    Weights that add up to less than one prediction an image are not scaled up, so that the noise of a teacher
    that sees nothing stays small; without any it is a zero that has a graph.
    """
    total = denominator(torch.stack([w.sum() for w in weights]).sum(), len(weights[0]) * processes())
    return torch.stack([(v * w).sum() for v, w in zip(values, weights, strict=True)]).sum() / total
