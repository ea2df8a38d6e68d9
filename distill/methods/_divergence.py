"""KL divergences between the predictions of student and teacher, given as logits.

Each is the cross entropy with the teacher less the teacher's entropy, so it is 0 for equal predictions.
Logits are divided by the temperature T. Multiplied by T^2, the gradients hardly depend on T: above about T =
10 the value is that of a squared distance of (centred) logits. Without T^2, a temperature acts as a weight of
1 / T^2.

Source: Hinton et al., Distilling the Knowledge in a Neural Network, 2015, https://arxiv.org/abs/1503.02531.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def bernoulli(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) of Bernoulli distributions, elementwise; without the factor T^2."""
    s, t = student / temperature, teacher / temperature
    # softplus(s) - p * s is the cross entropy; half the cost of binary_cross_entropy_with_logits, twice.
    return F.softplus(s) - F.softplus(t) - t.sigmoid() * (s - t)


def categorical(student: Tensor, teacher: Tensor, temperature: float = 1.0, *, dim: int = -1) -> Tensor:
    """KL(teacher || student) of softmax distributions, summed over ``dim``; without the factor T^2."""
    log_q = F.log_softmax(student / temperature, dim)
    log_p = F.log_softmax(teacher / temperature, dim)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim)
