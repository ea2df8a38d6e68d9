"""Ways to compare two feature maps of one shape, and a block that rebuilds one; methods share them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from distill.training.distributed import batch_norm, mean

EPS = 1e-5  # added to variances
IN_CACHE = 4  # images whose maps a CPU works on at a time; more would not stay in its cache


def standardise(maps: Tensor) -> Tensor:
    """Every channel of ``[B, C, h, w]`` to mean 0 and variance 1 over batch and cells.

    A channel of variance below 1e-5 shrinks towards 0 in place of being blown up.
    """
    # Contiguous first: the gradient of a channels-last float32 batch norm takes twice as long on a CPU.
    return batch_norm(maps.contiguous(), eps=EPS)


def channel_divergence(
    student: Tensor, teacher: Tensor, temperature: float, *, normalise: bool = False
) -> Tensor:
    """Where each channel looks: KL of its softmax over the cells, mean over batch and channels, times T^2.

    Args:
        student: ``[B, C, h, w]``.
        teacher: ``[B, C, h, w]``; no gradient goes there.
        temperature: T; softens both sides.
        normalise: Whether both are standardised first. The means fall out of the softmax.
    """
    divergence: Tensor = _ChannelDivergence.apply(student, teacher.detach(), temperature, normalise)
    return divergence


class _ChannelDivergence(torch.autograd.Function):
    """``channel_divergence``, with a gradient of its own: torch's would pass twice as often over the maps.

    Maps are tens of megabytes, and all that is done to them waits for the memory. With the logits
    ``z = r / T * a`` of maps a (r = 1 / standard deviation of the channel, or 1), p and q the softmaxes of
    teacher and student, g = q - p and s the mean of ``g * z`` over the channel, the gradient of a is
    ``r / T * g - r * T * s * z + r^2 * s * mean(a)``; without standardising only the first term.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, t: float, normalise: bool) -> Tensor:
        """The divergence, a scalar; the gradient is prepared on the way."""
        z, y = _logits(student), _logits(teacher)
        batch, channels, cells = z.shape
        (centre, ours), (_, theirs) = (_moments(maps, normalise=normalise) for maps in (z, y))
        total, share = z.new_zeros(()), z.new_zeros(channels)
        part = IN_CACHE if z.device.type == "cpu" else batch
        for own, other in zip(z.split(part), y.split(part), strict=True):
            own.mul_((ours / t)[:, None])
            other.mul_((theirs / t)[:, None])
            q, p = own.softmax(-1), other.softmax(-1)
            # KL = sum(p * (y - z)) + logsumexp(z) - logsumexp(y), these from where the softmax is largest.
            for sign, logits, softmax in ((1, own, q), (-1, other, p)):
                total += sign * (logits.amax(-1) - softmax.amax(-1).log()).sum()
            total += other.sub_(own).mul_(p).sum()
            torch.sub(q, p, out=other)
            share += torch.mul(other, own, out=p).sum(-1).sum(0)
        share = mean(share / (batch * cells)) if normalise else torch.zeros_like(share)
        ctx.save_for_backward(z, y, centre, ours, share)
        layout = torch.channels_last if student.is_contiguous(memory_format=torch.channels_last) else None
        ctx.t, ctx.shape = t, student.shape
        ctx.form = {"dtype": student.dtype, "memory_format": layout or torch.contiguous_format}
        return t**2 * total / (batch * channels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """See above; into the memory of what was saved."""
        z, g, centre, ratio, share = ctx.saved_tensors
        weight = gradient * ctx.t**2 / (z.shape[0] * z.shape[1])
        first, second = weight * ratio / ctx.t, weight * ratio * ctx.t * share
        third = weight * ratio**2 * share * centre
        part = IN_CACHE if z.device.type == "cpu" else len(z)
        for own, found in zip(z.split(part), g.split(part), strict=True):
            found.mul_(first[:, None]).addcmul_(own, second[:, None], value=-1).add_(third[:, None])
        return g.view(ctx.shape).to(**ctx.form), None, None, None


def _logits(maps: Tensor) -> Tensor:
    """A copy ``[B, C, h * w]`` in float32 or more."""
    wide = torch.promote_types(maps.dtype, torch.float32)
    return maps.to(wide, memory_format=torch.contiguous_format, copy=True).flatten(2)


def _moments(maps: Tensor, *, normalise: bool) -> tuple[Tensor, Tensor]:
    """Mean and 1 / standard deviation by channel of ``[B, C, n]``; 0 and 1 where they are not asked for."""
    if not normalise:
        return maps.new_zeros(maps.shape[1]), maps.new_ones(maps.shape[1])
    sums = maps.sum(-1).sum(0), torch.linalg.vector_norm(maps, dim=-1).square().sum(0)
    centre, square = mean(torch.stack(sums) / (maps.shape[0] * maps.shape[2]))
    return centre, torch.rsqrt((square - centre**2).clamp(min=0) + EPS)


def standard_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared difference of standardised maps: one minus Pearson's r, mean over the channels.

    The reference divides by the unbiased deviation: with n values a channel, it is (n - 1) / n of this.

    Args:
        student: ``[B, C, h, w]``.
        teacher: ``[B, C, h, w]``.
    """
    return F.mse_loss(standardise(student), standardise(teacher)) / 2


def rebuilder(channels: int) -> nn.Sequential:
    """The block that rebuilds a teacher's map from a masked one: 3x3 convolution, ReLU, 3x3 convolution."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 3, padding=1),
    )


def spatial_attention(magnitudes: Tensor, temperature: float) -> Tensor:
    """Where a network looks: softmax over the cells of their mean magnitude, times their number.

    Args:
        magnitudes: Absolute values of a map, ``[B, C, h, w]``.
        temperature: Higher spreads it wider.

    Returns:
        ``[B, h, w]``, of mean 1 an image.
    """
    strength = magnitudes.mean(1) / temperature  # [B, h, w]
    return strength[0].numel() * strength.flatten(1).softmax(1).view_as(strength)


def channel_attention(magnitudes: Tensor, temperature: float) -> Tensor:
    """The same for channels; ``[B, C, h, w]`` to ``[B, C]``."""
    return magnitudes.shape[1] * (magnitudes.mean((2, 3)) / temperature).softmax(1)
