"""Channel-wise distillation: match where each channel looks, not how strongly.

With ``normalise`` (the default) every channel is first brought to mean 0 and variance 1 over the batch, on
both sides, so that no channel's scale decides how sharp its softmax is; this is the variant that improved
RTMDet in OpenMMLab's published recipes, with the defaults here; without it, detectors there have a weight of
10. Beside YOLOv5's detection loss of 0.2 these defaults are heavy: a fresh yolov5n with a trained yolov5s
begins at 5 to 6 in all and moves the student's maps ten times as strongly; a weight of 0.1 is on a par. The
term is a mean over the batch: the loop multiplies it by the batch size.

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
        weight: Multiplies the term before it joins the detection loss.
        temperature: Softens each channel's map; higher spreads its attention wider.
        normalise: Whether channels are standardised over the batch before the softmax.
        adapter: What widens the student's maps to the teacher's channels.
    """

    weight: float = 1.0
    temperature: float = 1.0
    normalise: bool = True
    adapter: Adapter = "conv1x1"


class Loss(nn.Module):
    """KL divergence between teacher and student maps, channel by channel."""

    def __init__(self, config: Config, pair: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        # A bias would only shift a channel, and the softmax over its cells takes no notice.
        self.align = align(pair, config.adapter, bias=False)

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """One scalar a level; true boxes are not looked at.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes; no gradient goes there.
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
