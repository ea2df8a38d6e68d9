"""PKD: Pearson correlation of the channels of student and teacher, independent of scale and offset.

Each channel of both networks is standardised over the batch and its cells: its mean is subtracted, and it is
divided by its unbiased standard deviation plus 1e-6. Half the mean squared difference is (n - 1) / n times (1
- Pearson correlation) for n values in a channel: 0 for equal maps, nearly 2 for opposite ones. The weight of
10 is the reference's for RetinaNet. Measured at the start of a training with YOLOv5 (detection loss about
0.2): the three levels start at 10 each, and their gradient on the student's feature maps is eight times that
of the detection loss; a weight of 1 makes them equal. The term is a mean over the batch: the training loop
multiplies it by the batch size.

Source: Cao et al., PKD: General Distillation Framework for Object Detectors via Pearson Correlation
Coefficient, NeurIPS 2022, https://arxiv.org/abs/2207.02039; weight and the term 1e-6: open-mmlab/mmrazor.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.methods._adapter import Adapter, align
from distill.methods._maps import standard_distance

INPUTS: MethodInputs = "features"
FORMULA = 2  # 1 added 1e-5 to the biased variance


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies the term before it is added to the detection loss.
        adapter: Layer from the student's channels to the teacher's; the reference has none (``identity``)
            if both have the same channels.
    """

    weight: float = 10.0
    adapter: Adapter = "conv1x1"


class Loss(nn.Module):
    """Half the squared distance of standardised maps."""

    def __init__(self, config: Config, info: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        # No bias: it shifts the mean of a channel, which is subtracted.
        self.align = align(info, config.adapter, bias=False)

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """One scalar for each level; ground truth is not used.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes; detached.
            targets: float32 ``[n, 6]``.
        """
        return {
            level: self.config.weight
            * standard_distance(layer(student.features[level]), teacher.features[level].detach())
            for level, layer in self.align.items()
        }
