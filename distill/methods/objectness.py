"""Objectness-scaled distillation: predictions weighted by the teacher's objectness after feature-map NMS.

A teacher makes several predictions around each object. To avoid that the student learns these duplicates,
only the prediction with the highest objectness of each class in 3 x 3 cells of a level is kept (feature-map
NMS; ties are all kept). The teacher's maps are not modified.

``form = "paper"`` compares probabilities: objectness in all cells, with the target 0 for suppressed
predictions, and classes and coordinates weighted by the kept objectness. ``form = "logits"``, the default, is
the variant of YOLOv5 forks: squared distance of raw values, all weighted by the kept objectness, so cells
without objects have no weight at all. Each term is the sum over the levels of the mean over a level's
predictions in the batch, so a prediction of the coarse level counts more than one of the fine level: the
training loop multiplies the term by the batch size. Anchor heads with one class have no class term, as in
YOLOv5's detection loss, which does not train these logits. A ``dfl`` head has no objectness; the highest
class probability replaces it as the weight, and the ``obj`` term is omitted. With ``paper`` its coordinates
are the expected distances, in cells.

Limitations. With few objects a mean over all predictions is small, hence the large weight. The published gain
of 2 points on COCO (YOLOv5s from YOLOv5m) also includes more epochs. The NMS of the forks compares the
predictions of separate blocks of 3 x 3 cells and modifies the teacher's predictions; here the 3 x 3 cells are
those around each prediction. One fork leaves the teacher in training mode.

Measured before the first step on rendered scenes (random yolov5n, trained yolov5s, 320 x 320 pixels,
detection loss 0.2; ``distill.profiling.term_size``): the terms sum to 2.3 times the detection loss, with 4.5
times its gradient on the student's feature maps; a weight of 2 makes the gradients equal.

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
from distill.models.head_outputs import HeadColumns, distances, split_columns

INPUTS: MethodInputs = "predictions"
FORMULA = 2  # 1 was one mean over the predictions of all levels, 5 to 25 times smaller


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies all terms before they are added to the detection loss; the paper's lambda is 1, the
            fork's factor 10.
        form: Variant of the comparison, see above.
        nms: Whether feature-map NMS is applied to the teacher's predictions.
        box: Gain of the coordinates. The three gains are those of YOLOv5's detection loss, as in the fork,
            before YOLOv5 scales them to the image size and the number of classes.
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
    """Squared distance of the predictions, weighted by the teacher's objectness."""

    def __init__(self, config: Config, info: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self._head = info.head
        self._has_classes = info.head == "dfl" or info.nc > 1

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """Scalars ``box``, ``cls`` and ``obj``, the latter two if the head has them; labels are not used.

        Args:
            student: Raw maps ``[B, A, h, w, columns]``.
            teacher: Raw maps of the same shapes; detached.
            targets: float32 ``[n, 6]``.
        """
        config = self.config
        sides = [
            (split_columns(s, self._head), split_columns(t.detach(), self._head))
            for s, t in zip(student.raw, teacher.raw, strict=True)
        ]
        weights = [self._kept_objectness(t) for _, t in sides]
        pairs = list(zip(weights, sides, strict=True))
        terms = {"box": config.box * _sum_of_means([w * self._boxes(s, t) for w, (s, t) in pairs])}
        if self._has_classes:
            classes = [w * self._distance(s.cls, t.cls).mean(-1) for w, (s, t) in pairs]
            terms["cls"] = config.cls * _sum_of_means(classes)
        if self._head != "dfl":
            terms["obj"] = config.obj * _sum_of_means([self._objectness(w, s, t) for w, (s, t) in pairs])
        return {name: config.weight * value for name, value in terms.items()}

    def _kept_objectness(self, teacher: HeadColumns) -> Tensor:
        """The teacher's objectness after NMS, 0 for suppressed predictions; ``[B, A, h, w]``."""
        objectness = (teacher.cls.amax(-1) if teacher.obj is None else teacher.obj).sigmoid()
        if not self.config.nms:
            return objectness
        return objectness * feature_map_nms(objectness, teacher.cls.argmax(-1))

    def _objectness(self, weights: Tensor, student: HeadColumns, teacher: HeadColumns) -> Tensor:
        assert student.obj is not None
        assert teacher.obj is not None
        if self.config.form == "paper":
            return (student.obj.sigmoid() - weights).square()
        return weights * (student.obj - teacher.obj).square()

    def _boxes(self, student: HeadColumns, teacher: HeadColumns) -> Tensor:
        """Mean over the box columns, or over the sides of a ``dfl`` head's expected box; ``[B, A, h, w]``."""
        assert student.box is not None
        assert teacher.box is not None
        if self._head == "dfl" and self.config.form == "paper":
            return (distances(student.box) - distances(teacher.box)).square().mean(-1)
        return self._distance(student.box, teacher.box).mean(-1)

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Elementwise squared distance."""
        if self.config.form == "paper":
            student, teacher = student.sigmoid(), teacher.sigmoid()
        return (student - teacher).square()


def feature_map_nms(objectness: Tensor, class_id: Tensor) -> Tensor:
    """Feature-map NMS: mask of predictions with the highest objectness of their class in 3 x 3 cells.

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
                suppressed = (other[:, None] > objectness) & (other_class[:, None] == class_id)
                kept &= ~suppressed
    return kept


def _sum_of_means(levels: Sequence[Tensor]) -> Tensor:
    """Sum over the levels of the mean over a level's predictions."""
    return torch.stack([level.mean() for level in levels]).sum()
