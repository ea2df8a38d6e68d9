"""Channel-wise distillation: match the spatial distribution of each channel, not its magnitude.

With ``normalise`` (the default) each channel of both networks is first normalised to mean 0 and variance 1
over the batch, so its scale does not change the sharpness of the softmax. OpenMMLab's recipes for RTMDet use
this variant with the defaults here; without normalisation, its detectors use a weight of 10. Measured at the
start of a training with YOLOv5 (random yolov5n, trained yolov5s, detection loss 0.2): the terms sum to 5 or
6, and their gradient on the student's feature maps is ten times that of the detection loss; a weight of 0.1
makes them equal. The term is a mean over the batch: the training loop multiplies it by the batch size.

Source: Shu et al., Channel-wise Knowledge Distillation for Dense Prediction, ICCV 2021,
https://arxiv.org/abs/2011.13256; the normalised form: open-mmlab/mmyolo, configs/rtmdet/distillation.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.methods._adapter import Adapter, align
from distill.methods._maps import channel_divergence

INPUTS: MethodInputs = "features"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies the term before it is added to the detection loss.
        temperature: Softmax temperature; a higher value makes the distribution more uniform.
        normalise: Whether channels are standardised over the batch before the softmax.
        adapter: Layer from the student's channels to the teacher's.
    """

    weight: float = 1.0
    temperature: float = 1.0
    normalise: bool = True
    adapter: Adapter = "conv1x1"


class Loss(nn.Module):
    """KL divergence between teacher and student maps, channel by channel."""

    def __init__(self, config: Config, info: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        # No bias: it shifts a channel, which does not change the softmax over its cells.
        self.align = align(info, config.adapter, bias=False)

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """One scalar for each level; ground truth is not used.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes; detached.
            targets: float32 ``[n, 6]``.
        """
        config = self.config
        return {
            level: config.weight
            * channel_divergence(
                layer(student.native[level]),
                teacher.native[level],
                config.temperature,
                normalise=config.normalise,
            )
            for level, layer in self.align.items()
        }
