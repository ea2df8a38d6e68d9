"""Channel-wise distillation: match where each channel looks, not how strongly.

With ``normalise`` (the default) every channel is first brought to mean 0 and variance 1 over the batch, on
both sides, so that no channel's scale decides how sharp its softmax is; this is the variant that improved
RTMDet in OpenMMLab's published recipes. The term is a mean over the batch: the loop multiplies it by the
batch size.

Source: Shu et al., Channel-wise Knowledge Distillation for Dense Prediction, ICCV 2021,
https://arxiv.org/abs/2011.13256; the normalised form: open-mmlab/mmyolo, configs/rtmdet/distillation.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from distill.methods._adapter import Adapter, align
from distill.views import Compares, Pair, View

COMPARES: Compares = "features"


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

    def __init__(self, config: Config, pair: Pair) -> None:
        super().__init__()
        self.config = config
        # A bias would only shift a channel, and the softmax over its cells takes no notice.
        self.align = align(pair, config.adapter, bias=False)

    def forward(self, student: View, teacher: View, targets: Tensor) -> dict[str, Tensor]:
        """One scalar a level; true boxes are not looked at.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes; no gradient goes there.
            targets: float32 ``[n, 6]``.
        """
        return {
            level: self._level(layer(student.features[level]), teacher.features[level].detach())
            for level, layer in self.align.items()
        }

    def _level(self, student: Tensor, teacher: Tensor) -> Tensor:
        t = self.config.temperature
        if self.config.normalise:
            student, teacher = standardise(student), standardise(teacher)
        log_p = F.log_softmax(teacher.flatten(2) / t, dim=-1)  # [B, C, h*w]
        log_q = F.log_softmax(student.flatten(2) / t, dim=-1)
        per_channel = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)  # [B, C]
        return self.config.weight * t**2 * per_channel.mean()


def standardise(maps: Tensor) -> Tensor:
    """Every channel of ``[B, C, h, w]`` to mean 0 and variance 1 over batch and cells."""
    # Contiguous first: the gradient of a channels-last float32 batch norm takes twice as long on a CPU.
    return F.batch_norm(maps.contiguous(), None, None, training=True, eps=1e-5)
