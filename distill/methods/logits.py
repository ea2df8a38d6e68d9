"""Response distillation: the teacher's raw predictions as soft targets, weighted by its objectness.

All outputs of an anchor head are sigmoids, so each is compared as a Bernoulli distribution: cross entropy
with the teacher's probability less the teacher's entropy, which is 0 for equal predictions. ``kind = "l2"``
compares logits by squared distance, the limit of a high temperature times 8. Objectness is compared in every
cell. Classes and box are weighted by the teacher's objectness and divided by the sum of these weights. If the
sum is below the number of images, they are divided by that number, so noise is not amplified.

A ``dfl`` head has no objectness: classes and box are weighted by the teacher's highest class probability, and
the box is compared as four distributions over bins. The background then has almost no weight.

The gains are those of the method. The detection loss scales its class gain by nc / 80, which would be too
small for four classes. All terms are means over the batch: the training loop multiplies them by the batch
size.

Measured before the first step on rendered scenes (random yolov5n, trained yolov5s, 320 x 320 pixels,
detection loss 0.2; ``distill.profiling.term_size``): the terms sum to 1.7 times the detection loss, with 1.4
times its gradient on the student's feature maps.

Source: Mehta and Ozturk, Object detection at 200 Frames Per Second, 2018, https://arxiv.org/abs/1805.06361
(weights by objectness); Yang et al., Bridging Cross-task Protocol Inconsistency for Distillation in Dense
Object Detection, ICCV 2023, https://arxiv.org/abs/2308.14286 (why sigmoids).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.methods._divergence import bernoulli, categorical
from distill.models.head_outputs import BINS, SIDES, HeadColumns, split_columns
from distill.training.distributed import denominator, world_size

INPUTS: MethodInputs = "predictions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies all terms before they are added to the detection loss.
        kind: Comparison of logits; ``bernoulli`` compares the bins of a ``dfl`` head as distributions.
        obj: Gain of objectness; heads without it have no such term.
        cls: Gain of the classes.
        box: Gain of the box coordinates or, for a ``dfl`` head, of the mean over the four sides.
        balance: Weight of each level's objectness, as in the detection loss.
        temperature: Divides the logits of both networks; unused for ``l2``.
    """

    weight: float = 1.0
    kind: Literal["bernoulli", "l2"] = "bernoulli"
    obj: float = 1.0
    cls: float = 0.5
    box: float = 1.0
    balance: tuple[float, ...] = (4.0, 1.0, 0.4)
    temperature: float = 1.0


class Loss(nn.Module):
    """Distance between the teacher's and the student's predictions, for objectness, classes and box."""

    def __init__(self, config: Config, info: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self._head = info.head
        self._image_share = info.input_hw[0] * info.input_hw[1] / 640**2

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """Scalars ``obj`` (if the head has it), ``cls``, ``box``; ground truth is not used.

        Args:
            student: Raw maps ``[B, A, h, w, columns]``.
            teacher: Raw maps of the same shapes; detached.
            targets: float32 ``[n, 6]``.
        """
        config = self.config
        teacher_outputs = [level.detach() for level in teacher.raw]
        weights = [
            objectness_weight(split_columns(level, self._head)) for level in teacher_outputs
        ]  # [B, A, h, w]
        distances = [self._distances(s, t) for s, t in zip(student.raw, teacher_outputs, strict=True)]
        total = denominator(torch.stack([w.sum() for w in weights]).sum(), len(weights[0]) * world_size())
        cls = [(w * d.cls.mean(-1)).sum() for w, d in zip(weights, distances, strict=True)]
        box = [
            (w * d.box.mean(-1)).sum() for w, d in zip(weights, distances, strict=True) if d.box is not None
        ]
        terms = {
            "cls": config.cls * torch.stack(cls).sum() / total,
            "box": config.box * torch.stack(box).sum() / total,
        }
        objectness = [d.obj.mean() for d in distances if d.obj is not None]
        if objectness:
            balance = objectness[0].new_tensor(config.balance)
            # Scaled by the image area as in the detection loss: a small image has fewer cells, not objects.
            terms["obj"] = config.obj * self._image_share * (balance * torch.stack(objectness)).sum()
        return {name: config.weight * value for name, value in terms.items()}

    def _distances(self, student: Tensor, teacher: Tensor) -> HeadColumns:
        """Elementwise distances of one level; box distances of a ``dfl`` head by side, ``[..., 4]``."""
        if self._head != "dfl" or self.config.kind == "l2":
            # All columns at once: views of single columns are strided, and take three times as long.
            return split_columns(self._distance(student, teacher), self._head)
        s, t = split_columns(student, self._head), split_columns(teacher, self._head)
        assert s.box is not None
        assert t.box is not None
        temperature = self.config.temperature
        ours, wanted = (box.unflatten(-1, (SIDES, BINS)) for box in (s.box, t.box))
        box = temperature**2 * categorical(ours, wanted, temperature)
        return HeadColumns(box, None, self._distance(s.cls, t.cls))

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.config.kind == "l2":
            return (student - teacher).square()
        t = self.config.temperature
        return t**2 * bernoulli(student, teacher, t)


def objectness_weight(teacher: HeadColumns) -> Tensor:
    """Objectness or, without it, the highest class probability; ``[B, A, h, w]``."""
    return (teacher.cls.amax(-1) if teacher.obj is None else teacher.obj).sigmoid()
