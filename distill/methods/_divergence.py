"""Divergences between a student's and a teacher's predictions, given as logits, in one place.

All are the teacher's cross entropy less its entropy, so that equal predictions cost nothing. With a
temperature, logits are divided by it. Times its square, the size of the gradients hardly depends on it: above
about 10 the value is that of a plain squared distance of (centred) logits, whatever the temperature; without
the square, temperature is a weight in disguise, ``1 / T^2``.

Source: Hinton et al., Distilling the Knowledge in a Neural Network, 2015, https://arxiv.org/abs/1503.02531.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def bernoulli(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) of Bernoulli distributions, element by element; no factor of T^2."""
    s, t = student / temperature, teacher / temperature
    # softplus(s) - p * s is the cross entropy: half the work of two calls of torch's function for it.
    return F.softplus(s) - F.softplus(t) - t.sigmoid() * (s - t)


def categorical(student: Tensor, teacher: Tensor, temperature: float = 1.0, *, dim: int = -1) -> Tensor:
    """KL(teacher || student) of distributions over ``dim``, which is summed away; no factor of T^2."""
    log_q = F.log_softmax(student / temperature, dim)
    log_p = F.log_softmax(teacher / temperature, dim)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim)
