"""Squared distance of the feature maps, weighted by the teacher's confidence in each cell.

This is the method of the ``ultralytics`` package for ``distill_model=``, and the baseline for the other
methods: a projector of two 1x1 convolutions with a ReLU between them, then for each level ``sum(w * (S -
T)^2) / (sum(w) * channels)``, where w is the teacher's highest class probability in the cell. For a head with
objectness, w is the maximum over the anchors of objectness times class probability. For an end-to-end teacher
(YOLOv10, YOLO26) the class logits are the mean of those of its one-to-many and its one-to-one branch, as in
the package. The levels are summed. Ground truth is not used. The term is a mean over the cells of the batch:
the training loop multiplies it by the batch size, as the package does.

Limitations. The weights are divided by their sum, so a batch in which the teacher detects almost nothing has
the full weight. The projector is trained with the same loss and may learn a part of the mapping; it is
discarded after the training.

Measured before the first step on rendered scenes (random yolov5n, trained yolov5s, 320 x 320 pixels,
detection loss 0.2; ``distill.profiling.term_size``): the terms sum to 44 times the detection loss, with 14
times its gradient on the student's feature maps; a weight of 0.4 makes the gradients equal.

Source: ultralytics 8.4.190, ``nn/distill_model.py`` (formula and defaults only),
https://github.com/ultralytics/ultralytics/pull/24894.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.methods._adapter import align
from distill.models.head_outputs import confidence
from distill.training.distributed import denominator

INPUTS: MethodInputs = "features"
TINY = 1e-9  # avoids a division by 0 if all weights are 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies the term before it is added to the detection loss; the package's ``dis``, by
            default 6.
        adapter: Layer after the student's maps: the package's ``projector``, or ``identity`` for maps with
            the same channels.
    """

    weight: float = 6.0
    adapter: Literal["projector", "identity"] = "projector"


class Loss(nn.Module):
    """Squared distance between projected student and teacher maps, weighted by the teacher's confidence."""

    def __init__(self, config: Config, info: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self.project = projectors(info) if config.adapter == "projector" else align(info, "identity")

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """One scalar for each level; ground truth is not used.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes, and raw predictions; detached.
            targets: float32 ``[n, 6]``.
        """
        confidences = [level.detach() for level in confidence(teacher)]  # [B, h, w]
        return {
            level: self.config.weight
            * weighted_l2(layer(student.features[level]), teacher.features[level].detach(), weights)
            for (level, layer), weights in zip(self.project.items(), confidences, strict=True)
        }


def weighted_l2(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """``sum(w * (S - T)^2) / (sum(w) * C)``; maps ``[B, C, h, w]``, weights ``[B, h, w]``."""
    per_cell = (student - teacher).square().sum(1)
    return (per_cell * weights).sum() / denominator(weights.sum() * student.shape[1] + TINY, 0.0)


def projectors(info: StudentTeacherInfo) -> nn.ModuleDict:
    """1x1 convolution, ReLU, 1x1 convolution for each level, both with the teacher's channels."""
    return nn.ModuleDict(
        {
            level: nn.Sequential(
                nn.Conv2d(width, info.teacher_channels[level], 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(info.teacher_channels[level], info.teacher_channels[level], 1),
            )
            for level, width in info.student_channels.items()
        }
    )
