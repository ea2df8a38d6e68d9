"""Response distillation: the teacher's raw predictions as soft targets, heard where it sees an object.

All outputs of an anchor head are sigmoids, so each is compared as a Bernoulli distribution (a softmax over
class logits would suit another head): cross entropy with the teacher's probability, less the teacher's
entropy, so that equal predictions cost nothing. Objectness is compared in every cell; classes and box
coordinates are weighted by the teacher's objectness and divided by the sum of these weights. A batch in which
the teacher sees less than one object an image is divided by the number of images instead, so that noise is
not blown up.

The gains are the method's own: the detection loss scales its class gain by nc / 80, which would silence four
classes. All terms are means over the batch: the loop multiplies them by the batch size.

Source: Mehta and Ozturk, Object detection at 200 Frames Per Second, 2018, https://arxiv.org/abs/1805.06361
(weights by objectness); Yang et al., Bridging Cross-task Protocol Inconsistency for Distillation in Dense
Object Detection, ICCV 2023, https://arxiv.org/abs/2308.14286 (why sigmoids).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.views import Compares, Pair, View

COMPARES: Compares = "predictions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies all terms before they join the detection loss.
        obj: Gain of objectness.
        cls: Gain of the classes.
        box: Gain of the box coordinates.
        balance: Weight of each level's objectness, as in the detection loss.
        temperature: Softens the probabilities of both sides.
    """

    weight: float = 1.0
    obj: float = 1.0
    cls: float = 0.5
    box: float = 1.0
    balance: tuple[float, ...] = (4.0, 1.0, 0.4)
    temperature: float = 1.0


class Loss(nn.Module):
    """Bernoulli divergence between teacher and student, for objectness, classes and box."""

    def __init__(self, config: Config, pair: Pair) -> None:
        super().__init__()
        self.config = config
        self._image_share = pair.input_hw[0] * pair.input_hw[1] / 640**2

    def forward(self, student: View, teacher: View, targets: Tensor) -> dict[str, Tensor]:
        """Scalars ``obj``, ``cls``, ``box``; true boxes are not looked at.

        Args:
            student: Raw maps ``[B, anchors, h, w, 5 + nc]``.
            teacher: Raw maps of the same shapes; no gradient goes there.
            targets: float32 ``[n, 6]``.
        """
        config = self.config
        taught = [level.detach() for level in teacher.raw]
        divergence = [
            bernoulli_divergence(s, t, config.temperature) for s, t in zip(student.raw, taught, strict=True)
        ]
        objectness = torch.stack([d[..., 4].mean() for d in divergence])
        balance = objectness.new_tensor(config.balance)
        heard = [t[..., 4].sigmoid() for t in taught]  # [B, anchors, h, w]
        total = torch.stack([w.sum() for w in heard]).sum().clamp(min=len(taught[0]))
        cls, box = (
            torch.stack(
                [(w * d[..., part].mean(-1)).sum() for w, d in zip(heard, divergence, strict=True)]
            ).sum()
            / total
            for part in (slice(5, None), slice(0, 4))
        )
        return {
            # Scaled by the area as in the detection loss: a mean over fewer cells holds as many objects.
            "obj": config.weight * config.obj * self._image_share * (balance * objectness).sum(),
            "cls": config.weight * config.cls * cls,
            "box": config.weight * config.box * box,
        }


def bernoulli_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL of two Bernoulli distributions given by logits, element by element, times temperature squared."""
    probability = (teacher / temperature).sigmoid()
    cross = F.binary_cross_entropy_with_logits(student / temperature, probability, reduction="none")
    entropy = F.binary_cross_entropy_with_logits(teacher / temperature, probability, reduction="none")
    return temperature**2 * (cross - entropy)
