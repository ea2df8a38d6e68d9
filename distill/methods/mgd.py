"""MGD: generate the teacher's full feature map from the student's map with randomly masked cells.

The student and a generator block are trained. Each cell of the student must carry information about its
neighbours. The term is not 0 for a student equal to its teacher. The squared differences are summed over
channels and cells, as in the reference, so the term grows with the image size and the teacher's width.
Measured at the start of a training (random yolov5n, trained yolov5s, 320 x 320 pixels, detection loss 0.2):
the terms sum to about 1.4, and their gradient on the student's feature maps is a tenth of that of the
detection loss; at first mainly the generators learn. The term is a mean over the batch: the training loop
multiplies it by the batch size.

The generators have two 3x3 convolutions for each level at the teacher's width, which cost more in a step than
a small student.

Source: Yang et al., Masked Generative Distillation, ECCV 2022, https://arxiv.org/abs/2205.01529, and
yzd-v/MGD, where 2e-5 and 0.65 are for one-stage detectors (5e-7 and 0.45 for two-stage ones).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.methods._adapter import Adapter, align
from distill.methods._maps import generator

INPUTS: MethodInputs = "features"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies the term before it is added to the detection loss; the paper's alpha.
        dropped: Probability that a cell is masked, in all channels; the paper's lambda.
        adapter: Layer from the student's channels to the teacher's; the reference has none (``identity``)
            if both have the same channels.
    """

    weight: float = 2e-5
    dropped: float = 0.65
    adapter: Adapter = "conv1x1"


class Loss(nn.Module):
    """Squared distance between the teacher's map and the one generated from the student's."""

    def __init__(self, config: Config, info: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self.align = align(info, config.adapter)
        self.rebuild = nn.ModuleDict({name: generator(c) for name, c in info.teacher_channels.items()})

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """One scalar for each level; ground truth is not used.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes; detached.
            targets: float32 ``[n, 6]``.
        """
        return {
            level: self._level(level, layer(student.features[level]), teacher.features[level].detach())
            for level, layer in self.align.items()
        }

    def _level(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        batch, _, height, width = student.shape
        # Drawn on the CPU, so all devices get the same mask.
        mask = (torch.rand(batch, 1, height, width) >= self.config.dropped).to(student)
        generated = self.rebuild[name](student * mask)
        return self.config.weight * F.mse_loss(generated, teacher, reduction="sum") / batch
