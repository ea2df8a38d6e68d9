"""INT8 fake quantisation with a learned step size (scale).

Forward, as in an engine: divide by the step, round half to even, clip, multiply by the step. Backward, values
that were not clipped pass their gradient unchanged (straight-through estimator), and the step gets

    d out / d step = round(x / step) - x / step,   or the integer that x was clipped to,

summed over all values and divided by sqrt(number of values * largest integer), which brings it to the size of
a weight's gradient. Source: Esser et al., Learned Step Size Quantization, ICLR 2020,
https://arxiv.org/abs/1902.08153.

The parameter is the logarithm of the step relative to its calibrated value. So a step cannot become negative,
and an optimiser with equal updates for all parameters changes steps of 0.005 and of 0.5 by the same fraction.
Source: Jain et al., Trained Quantization Thresholds, MLSys 2020, https://arxiv.org/abs/1903.08066.

The step is learned because calibration cannot know the best trade of clipping against resolution for the
detection loss; it only knows the quantisation error.

Everything is computed in float32, also under autocast: bf16 has only 8 significant bits.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

Limits = tuple[int, int, int | None]  # low, high and pair of ``FakeQuantize``


class FakeQuantize(nn.Module):
    """Fake quantisation of a tensor, or of a weight with one step for each output channel.

    Attributes:
        first: Calibrated step, float32 ``[]`` or ``[out]``.
        growth: Learned logarithm of step / (calibrated step), before ``speed``; a buffer if it is not
            learned.
        low: Smallest integer less the zero point.
        high: Largest integer less the zero point.
        pair: Limit on the sum of two weights of one sign in input channels 2i and 2i + 1, see
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
        is_learned: bool = True,
        pair: int | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("first", first.to(torch.float32))
        if is_learned:
            self.growth = nn.Parameter(torch.zeros_like(self.first))
        else:
            self.register_buffer("growth", torch.zeros_like(self.first))
        self.low, self.high, self.pair, self._speed = low, high, pair, speed

    @property
    def step(self) -> Tensor:
        """The current step, of the shape of ``first``."""
        return self.first * torch.exp(self._speed * self.growth)

    def forward(self, x: Tensor) -> Tensor:
        """Quantise and dequantise ``x``; the result has the same shape and dtype."""
        step = self.step
        step = step.view(-1, *[1] * (x.ndim - 1)) if step.ndim else step
        quantized: Tensor = _LearnedStepRound.apply(x, step, (self.low, self.high, self.pair))
        return quantized


class _LearnedStepRound(torch.autograd.Function):
    """Rounding with the gradients of the module docstring."""

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
        integer = scaled.round()
        level = _clip(integer.clone(), *ctx.limits)
        inside = integer == level  # a value that rounds to the last integer is not clipped
        to_step = None
        if ctx.needs_input_grad[1]:
            slope = level.sub_(scaled.mul_(inside)).mul_(gradient)
            summed = slope.sum_to_size(step.shape) if step.ndim else slope.sum()
            to_step = summed / sqrt(x.numel() / step.numel() * ctx.limits[1])
        return gradient * inside, to_step, None


def _clip(integers: Tensor, low: int, high: int, pair: int | None) -> Tensor:
    """Clip integers in place; if two together exceed ``pair``, the second one is reduced."""
    integers.clamp_(low, high)
    if pair is not None:
        first, second = integers[:, ::2], integers[:, 1::2]
        least = torch.where(first < 0, -pair - first, low).clamp_(min=low)
        most = torch.where(first > 0, pair - first, high).clamp_(max=high)
        torch.maximum(torch.minimum(second, most), least, out=second)
    return integers
