"""Response distillation: the teacher's raw predictions as soft targets, heard where it sees an object.

All outputs of an anchor head are sigmoids, so each is compared as a Bernoulli distribution (a softmax over
class logits would suit another head): cross entropy with the teacher's probability, less the teacher's
entropy, so that equal predictions cost nothing. ``kind = "l2"`` compares logits by squared distance instead:
what a high temperature comes to, times 8. Objectness is compared in every cell; classes and box are weighted
by the teacher's objectness and divided by the sum of these weights. A batch in which the teacher sees less
than one object an image is divided by the number of images instead, so that noise is not blown up.

A ``dfl`` head has no objectness: classes and box are weighted by the teacher's highest class probability, and
the box is compared as four distributions over bins. What the teacher makes of the background is then heard
hardly at all.

The gains are the method's own: the detection loss scales its class gain by nc / 80, which would silence four
classes. All terms are means over the batch: the loop multiplies them by the batch size.

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
from distill.models.head_outputs import BINS, SIDES, Parts, parts
from distill.training.distributed import denominator, processes

INPUTS: MethodInputs = "predictions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies all terms before they join the detection loss.
        kind: How logits are compared; ``bernoulli`` compares a ``dfl`` head's bins as distributions.
        obj: Gain of objectness; heads without it have no such term.
        cls: Gain of the classes.
        box: Gain of the box coordinates or, of a ``dfl`` head, of the mean over the four sides.
        balance: Weight of each level's objectness, as in the detection loss.
        temperature: Softens the probabilities of both sides; of no meaning for ``l2``.
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

    def __init__(self, config: Config, pair: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self._head = pair.head
        self._image_share = pair.input_hw[0] * pair.input_hw[1] / 640**2

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """Scalars ``obj`` (if the head has it), ``cls``, ``box``; true boxes are not looked at.

        Args:
            student: Raw maps ``[B, A, h, w, columns]``.
            teacher: Raw maps of the same shapes; no gradient goes there.
            targets: float32 ``[n, 6]``.
        """
        config = self.config
        teacher_outputs = [level.detach() for level in teacher.raw]
        heard = [_sureness(parts(level, self._head)) for level in teacher_outputs]  # [B, A, h, w]
        apart = [self._distances(s, t) for s, t in zip(student.raw, teacher_outputs, strict=True)]
        total = denominator(torch.stack([w.sum() for w in heard]).sum(), len(heard[0]) * processes())
        cls = [(w * d.cls.mean(-1)).sum() for w, d in zip(heard, apart, strict=True)]
        box = [(w * d.box.mean(-1)).sum() for w, d in zip(heard, apart, strict=True) if d.box is not None]
        terms = {
            "cls": config.cls * torch.stack(cls).sum() / total,
            "box": config.box * torch.stack(box).sum() / total,
        }
        objectness = [d.obj.mean() for d in apart if d.obj is not None]
        if objectness:
            balance = objectness[0].new_tensor(config.balance)
            # Scaled by the area as in the detection loss: a mean over fewer cells holds as many objects.
            terms["obj"] = config.obj * self._image_share * (balance * torch.stack(objectness)).sum()
        return {name: config.weight * value for name, value in terms.items()}

    def _distances(self, student: Tensor, teacher: Tensor) -> Parts:
        """Of one level's raw maps, element by element; of a ``dfl`` head's box by side, ``[..., 4]``."""
        if self._head != "dfl" or self.config.kind == "l2":
            # All columns at once: picked ones lie apart in memory, and take three times as long.
            return parts(self._distance(student, teacher), self._head)
        s, t = parts(student, self._head), parts(teacher, self._head)
        assert s.box is not None
        assert t.box is not None
        temperature = self.config.temperature
        ours, wanted = (box.unflatten(-1, (SIDES, BINS)) for box in (s.box, t.box))
        box = temperature**2 * categorical(ours, wanted, temperature)
        return Parts(box, None, self._distance(s.cls, t.cls))

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.config.kind == "l2":
            return (student - teacher).square()
        t = self.config.temperature
        return t**2 * bernoulli(student, teacher, t)


def _sureness(teacher: Parts) -> Tensor:
    """Objectness or, without it, the highest class probability; ``[B, A, h, w]``."""
    return (teacher.cls.amax(-1) if teacher.obj is None else teacher.obj).sigmoid()
