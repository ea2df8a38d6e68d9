"""Squared distance of the maps, weighted by how sure the teacher is of each cell.

This is what the ``ultralytics`` package does for ``distill_model=``, and so the bar for every other method: a
projector of two 1x1 convolutions with a ReLU between, then on each level
``sum(w * (S - T)^2) / (sum(w) * channels)``, where w is the teacher's highest class probability in the cell.
Of a teacher whose head has objectness, it is the highest product of both over the cell's anchors. The levels
are summed. True boxes play no part. The term is a mean over the cells of the batch: the loop multiplies it by
the batch size, as the package does.

Known traps. The weights are divided by their own sum, so that a teacher that sees next to nothing in a batch
still teaches at full strength. The projector is trained from the same loss and can take over a part of the
work; it is dropped in the end.

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
TINY = 1e-9  # keeps the division finite where the teacher is sure of nothing at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies the term before it joins the detection loss; the package's ``dis``, by default 6.
        adapter: What stands behind the student's maps: the package's ``projector``, or ``identity`` between
            maps of the same width.
    """

    weight: float = 6.0
    adapter: Literal["projector", "identity"] = "projector"


class Loss(nn.Module):
    """Squared distance between projected student and teacher maps where the teacher sees something."""

    def __init__(self, config: Config, pair: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self.project = projectors(pair) if config.adapter == "projector" else align(pair, "identity")

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """One scalar a level; true boxes are not looked at.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes, and raw predictions; no gradient goes there.
            targets: float32 ``[n, 6]``.
        """
        sure = [level.detach() for level in confidence(teacher)]  # [B, h, w]
        return {
            level: self.config.weight
            * weighted_l2(layer(student.features[level]), teacher.features[level].detach(), weights)
            for (level, layer), weights in zip(self.project.items(), sure, strict=True)
        }


def weighted_l2(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """``sum(w * (S - T)^2) / (sum(w) * C)``; maps ``[B, C, h, w]``, weights ``[B, h, w]``."""
    per_cell = (student - teacher).square().sum(1)
    return (per_cell * weights).sum() / denominator(weights.sum() * student.shape[1] + TINY, 0.0)


def projectors(pair: StudentTeacherInfo) -> nn.ModuleDict:
    """1x1 convolution, ReLU, 1x1 convolution on each level; both give the teacher's channels."""
    return nn.ModuleDict(
        {
            level: nn.Sequential(
                nn.Conv2d(width, pair.teacher_channels[level], 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(pair.teacher_channels[level], pair.teacher_channels[level], 1),
            )
            for level, width in pair.student_channels.items()
        }
    )
