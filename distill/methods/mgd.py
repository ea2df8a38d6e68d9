"""MGD: from a student's map with most cells blanked at random, rebuild the teacher's whole map.

What is trained is the student and a block that rebuilds; the student must know of every cell what its
neighbours need. A student equal to its teacher still pays for what the block cannot rebuild. The squared
differences are summed over channels and cells, as in the reference, so the term grows with the size of the
images and with the teacher's width. A fresh yolov5n with a trained yolov5s on 320 x 320 pixels begins at
about 1.4 in all beside a detection loss of 0.2, but moves the student's maps only a tenth as strongly as
that: at first it is the blocks that learn. The term is a mean over the batch: the loop multiplies it by the
batch size.

The blocks are two 3x3 convolutions a level at the teacher's width: a step costs more than that of a small
student itself.

Source: Yang et al., Masked Generative Distillation, ECCV 2022, https://arxiv.org/abs/2205.01529, and
yzd-v/MGD, where 2e-5 and 0.65 are for detectors of one stage (5e-7 and 0.45 for those of two).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.methods._adapter import Adapter, align
from distill.methods._maps import rebuilder

INPUTS: MethodInputs = "features"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies the term before it joins the detection loss; the paper's alpha.
        dropped: Chance that a cell is blanked, in all channels; the paper's lambda.
        adapter: What widens the student's maps to the teacher's channels; the reference has none where both
            are equally wide, which is ``identity``.
    """

    weight: float = 2e-5
    dropped: float = 0.65
    adapter: Adapter = "conv1x1"


class Loss(nn.Module):
    """Squared distance between the teacher's map and one rebuilt from the student's."""

    def __init__(self, config: Config, pair: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self.align = align(pair, config.adapter)
        self.rebuild = nn.ModuleDict({name: rebuilder(c) for name, c in pair.teacher_channels.items()})

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """One scalar a level; true boxes are not looked at.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes; no gradient goes there.
            targets: float32 ``[n, 6]``.
        """
        return {
            level: self._level(level, layer(student.features[level]), teacher.features[level].detach())
            for level, layer in self.align.items()
        }

    def _level(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        batch, _, height, width = student.shape
        # Drawn on the CPU, so that every device has the same.
        kept = (torch.rand(batch, 1, height, width) >= self.config.dropped).to(student)
        rebuilt = self.rebuild[name](student * kept)
        return self.config.weight * F.mse_loss(rebuilt, teacher, reduction="sum") / batch
