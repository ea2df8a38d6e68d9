"""Objectness-scaled distillation: the teacher is heard in proportion to its objectness, after its own NMS.

Around each object a teacher makes several predictions; taught all of them, a student learns to make them too.
So of the teacher's predictions of one class in any 3 x 3 cells of a level, only the one with the highest
objectness is kept (feature-map NMS; of equal ones, all). The teacher's maps themselves are left as they are.

``form = "paper"`` compares probabilities: objectness everywhere, where predictions that were not kept are
taught as 0, and classes and coordinates weighted by the kept objectness. ``form = "logits"``, the default, is
what YOLOv5 forks have made of it: squared distance of raw values, objectness too, all weighted by the kept
objectness, so that a teacher that sees nothing teaches nothing, not even the background. Each term is a mean
over all predictions of the batch: the loop multiplies it by the batch size. A ``dfl`` head has no objectness;
its highest class probability stands for it, and the term is left out. The paper's coordinates are then its
expected distances, in cells.

Known traps. With few objects a mean over all predictions is small, hence the large weight. The published
gain of 2 points on COCO (YOLOv5s from YOLOv5m) came with more epochs as well. The forks' suppression writes
into the teacher's predictions, and one of them leaves the teacher in training mode.

Source: Mehta and Ozturk, Object detection at 200 Frames Per Second, 2018, https://arxiv.org/abs/1805.06361;
https://github.com/Adlik/yolov5 (squared distance of raw values, gains; facts only).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.models.head_outputs import Parts, distances, parts

INPUTS: MethodInputs = "predictions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies all terms before they join the detection loss; the paper's lambda is 1, the fork's
            factor 10.
        form: What is compared, see above.
        nms: Whether the teacher's predictions are thinned first.
        box: Gain of the coordinates; this and the next two as in YOLOv5's detection loss, as the fork has it.
        obj: Gain of objectness; heads without it have no such term.
        cls: Gain of the classes.
    """

    weight: float = 10.0
    form: Literal["logits", "paper"] = "logits"
    nms: bool = True
    box: float = 0.05
    obj: float = 1.0
    cls: float = 0.5


class Loss(nn.Module):
    """Squared distance from the teacher's predictions, times its objectness."""

    def __init__(self, config: Config, pair: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self._head = pair.head

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """Scalars ``box``, ``cls`` and ``obj`` (if the head has it); true boxes are not looked at.

        Args:
            student: Raw maps ``[B, A, h, w, columns]``.
            teacher: Raw maps of the same shapes; no gradient goes there.
            targets: float32 ``[n, 6]``.
        """
        config = self.config
        sides = [
            (parts(s, self._head), parts(t.detach(), self._head))
            for s, t in zip(student.raw, teacher.raw, strict=True)
        ]
        heard = [self._heard(t) for _, t in sides]
        pairs = list(zip(heard, sides, strict=True))
        terms = {
            "box": config.box * _mean([w * self._boxes(s, t) for w, (s, t) in pairs]),
            "cls": config.cls * _mean([w * self._distance(s.cls, t.cls).mean(-1) for w, (s, t) in pairs]),
        }
        if self._head != "dfl":
            terms["obj"] = config.obj * _mean([self._objectness(w, s, t) for w, (s, t) in pairs])
        return {name: config.weight * value for name, value in terms.items()}

    def _heard(self, teacher: Parts) -> Tensor:
        """The teacher's objectness where it is kept, else 0; ``[B, A, h, w]``."""
        objectness = (teacher.cls.amax(-1) if teacher.obj is None else teacher.obj).sigmoid()
        if not self.config.nms:
            return objectness
        return objectness * strongest(objectness, teacher.cls.argmax(-1))

    def _objectness(self, heard: Tensor, student: Parts, teacher: Parts) -> Tensor:
        assert student.obj is not None
        assert teacher.obj is not None
        if self.config.form == "paper":
            return (student.obj.sigmoid() - heard).square()
        return heard * (student.obj - teacher.obj).square()

    def _boxes(self, student: Parts, teacher: Parts) -> Tensor:
        """Mean over the box columns, or over the sides of a ``dfl`` head's expected box; ``[B, A, h, w]``."""
        assert student.box is not None
        assert teacher.box is not None
        if self._head == "dfl" and self.config.form == "paper":
            return (distances(student.box) - distances(teacher.box)).square().mean(-1)
        return self._distance(student.box, teacher.box).mean(-1)

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Element by element."""
        if self.config.form == "paper":
            student, teacher = student.sigmoid(), teacher.sigmoid()
        return (student - teacher).square()


def strongest(objectness: Tensor, class_id: Tensor) -> Tensor:
    """Where no prediction of the same class in the 3 x 3 cells around, of any anchor, has more objectness.

    Args:
        objectness: ``[B, A, h, w]``, not negative.
        class_id: int64 of the same shape.

    Returns:
        bool of the same shape.
    """
    height, width = objectness.shape[2:]
    around = F.pad(objectness, (1, 1, 1, 1))
    classes = F.pad(class_id, (1, 1, 1, 1), value=-1)
    kept = torch.ones_like(objectness, dtype=torch.bool)
    for y in range(3):
        for x in range(3):
            cell = (slice(None), slice(None), slice(y, y + height), slice(x, x + width))
            for other, other_class in zip(around[cell].unbind(1), classes[cell].unbind(1), strict=True):
                beaten = (other[:, None] > objectness) & (other_class[:, None] == class_id)
                kept &= ~beaten
    return kept


def _mean(levels: Sequence[Tensor]) -> Tensor:
    """Mean over all predictions of all levels."""
    return torch.stack([level.sum() for level in levels]).sum() / sum(level.numel() for level in levels)
