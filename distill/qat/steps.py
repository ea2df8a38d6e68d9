"""Rounding to a byte whose step is learnt, with a gradient.

Forward it is what an engine does: divide by the step, round half to even, clip, multiply. Backward, a number
that was not clipped passes its gradient on as if it had not been rounded, and the step gets

    d out / d step = round(x / step) - x / step,   or the byte that x was clipped to,

summed over all numbers and divided by the root of (their number times the largest byte), so that it is of the
size of a weight's gradient. Source: Esser et al., Learned Step Size Quantization, ICLR 2020,
https://arxiv.org/abs/1902.08153.

What is learnt is the logarithm of the step's growth since the calibration: a step cannot become negative, and
an optimiser that moves all parameters alike moves a step of 0.005 by no more of itself than one of 0.5.
Source: Jain et al., Trained Quantization Thresholds, MLSys 2020, https://arxiv.org/abs/1903.08066.

Steps are learnt and not observed: how much clipping a finer step is worth, judged by the boxes and not by the
noise, is just what calibration cannot know.

All of it is computed in float32, whatever the network computes in: bf16 has eight bits itself.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

Limits = tuple[int, int, int | None]  # least and largest byte, and of two: see ``Steps``


class Steps(nn.Module):
    """Rounds to bytes of one step, or of one step for each output channel of a weight.

    Attributes:
        first: The step of the calibration, float32 ``[]`` or ``[out]``.
        growth: What is learnt; a buffer where nothing is.
        low: The least byte less the one that stands for zero.
        high: The largest.
        pair: What two weights of one sign in channels 2i and 2i + 1 may be together, see
            ``edgestill.quantization.WeightRange``; None without that limit.
    """

    first: Tensor
    growth: Tensor

    def __init__(
        self,
        first: Tensor,
        low: int,
        high: int,
        *,
        speed: float,
        is_learnt: bool = True,
        pair: int | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("first", first.to(torch.float32))
        if is_learnt:
            self.growth = nn.Parameter(torch.zeros_like(self.first))
        else:
            self.register_buffer("growth", torch.zeros_like(self.first))
        self.low, self.high, self.pair, self._speed = low, high, pair, speed

    @property
    def now(self) -> Tensor:
        """The step, of the shape of ``first``."""
        return self.first * torch.exp(self._speed * self.growth)

    def forward(self, x: Tensor) -> Tensor:
        """The nearest numbers that a byte can say, of the same shape and type."""
        step = self.now
        step = step.view(-1, *[1] * (x.ndim - 1)) if step.ndim else step
        rounded: Tensor = _Round.apply(x, step, (self.low, self.high, self.pair))
        return rounded


class _Round(torch.autograd.Function):
    """See the module."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, limits: Limits) -> Tensor:
        ctx.save_for_backward(x, step)
        ctx.limits = limits
        return _clip((x.float() / step).round_(), *limits).mul_(step).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, step = ctx.saved_tensors
        scaled = x.float() / step
        byte = scaled.round()
        level = _clip(byte.clone(), *ctx.limits)
        inside = byte == level  # what rounds to the last byte is not clipped
        to_step = None
        if ctx.needs_input_grad[1]:
            slope = level.sub_(scaled.mul_(inside)).mul_(gradient)
            summed = slope.sum_to_size(step.shape) if step.ndim else slope.sum()
            to_step = summed / sqrt(x.numel() / step.numel() * ctx.limits[1])
        return gradient * inside, to_step, None


def _clip(bytes_: Tensor, low: int, high: int, pair: int | None) -> Tensor:
    """Put bytes into their limits, in place; of two that are too large together, the second gives way."""
    bytes_.clamp_(low, high)
    if pair is not None:
        first, second = bytes_[:, ::2], bytes_[:, 1::2]
        least = torch.where(first < 0, -pair - first, low).clamp_(min=low)
        most = torch.where(first > 0, pair - first, high).clamp_(max=high)
        torch.maximum(torch.minimum(second, most), least, out=second)
    return bytes_
