"""PKD: make the student's channels rise and fall with the teacher's, whatever their scale and offset.

Every channel is standardised over the batch and its cells, on both sides; half the mean squared difference of
the results is one minus Pearson's correlation (0 for equal maps, 2 for opposite ones). The weight of 10 is
the reference's beside the losses of RetinaNet. Beside YOLOv5's detection loss of about 0.2 it is heavy: three
levels begin at 10 each and move the student's maps over ten times as strongly; a weight of 1 is on a par. The
term is a mean over the batch: the loop multiplies it by the batch size.

Source: Cao et al., PKD: General Distillation Framework for Object Detectors via Pearson Correlation
Coefficient, NeurIPS 2022, https://arxiv.org/abs/2207.02039; weight: open-mmlab/mmrazor.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.methods._adapter import Adapter, align
from distill.methods._maps import standard_distance

INPUTS: MethodInputs = "features"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies the term before it joins the detection loss.
        adapter: What widens the student's maps to the teacher's channels; the reference has none where both
            are equally wide, which is ``identity``.
    """

    weight: float = 10.0
    adapter: Adapter = "conv1x1"


class Loss(nn.Module):
    """Half the squared distance of standardised maps."""

    def __init__(self, config: Config, pair: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        # A bias would only shift a channel, and its mean is taken off.
        self.align = align(pair, config.adapter, bias=False)

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """One scalar a level; true boxes are not looked at.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes; no gradient goes there.
            targets: float32 ``[n, 6]``.
        """
        return {
            level: self.config.weight
            * standard_distance(layer(student.features[level]), teacher.features[level].detach())
            for level, layer in self.align.items()
        }
