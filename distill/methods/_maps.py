"""Comparisons of two feature maps of one shape, attention maps, and a generator; shared by methods."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from distill.training.distributed import all_reduce_mean, sync_batch_norm, sync_standardise

EPS = 1e-5  # added to variances
DEVIATION_EPS = 1e-6  # added to standard deviations
IMAGES_PER_CHUNK = 4  # on a CPU; the maps of more images do not fit in its cache


def standardise(maps: Tensor) -> Tensor:
    """Normalise each channel of ``[B, C, h, w]`` to mean 0 and variance 1 over batch and cells.

    1e-5 is added to the variance, so a channel with a smaller variance is not amplified to 1.
    """
    # Contiguous: on a CPU the backward pass of a channels-last float32 batch norm takes twice as long.
    return sync_batch_norm(maps.contiguous(), eps=EPS)


def channel_divergence(
    student: Tensor, teacher: Tensor, temperature: float, *, normalise: bool = False
) -> Tensor:
    """KL divergence of each channel's softmax over the cells, mean over batch and channels, times T^2.

    Args:
        student: ``[B, C, h, w]``.
        teacher: ``[B, C, h, w]``; detached.
        temperature: T, on both sides.
        normalise: Whether both are standardised first. The mean does not change the softmax.
    """
    divergence: Tensor = _ChannelDivergence.apply(student, teacher.detach(), temperature, normalise)
    return divergence


class _ChannelDivergence(torch.autograd.Function):
    """``channel_divergence`` with a manual backward pass, which reads the maps half as often as autograd's.

    Maps are tens of megabytes, and memory bandwidth limits the speed. With the logits ``z = r / T * a`` of
    maps a (r = 1 / standard deviation of the channel, or 1), p and q the softmaxes of teacher and student, g
    = q - p and s the mean of ``g * z`` over the channel, the gradient of a is ``r / T * g - r * T * s * z +
    r^2 * s * mean(a)``; without standardising only the first term.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, t: float, normalise: bool) -> Tensor:
        """The divergence, a scalar; also prepares the gradient."""
        z, y = _logits(student), _logits(teacher)
        batch, channels, cells = z.shape
        (centre, ours), (_, theirs) = (_moments(maps, normalise=normalise) for maps in (z, y))
        total, share = z.new_zeros(()), z.new_zeros(channels)
        part = IMAGES_PER_CHUNK if z.device.type == "cpu" else batch
        for own, other in zip(z.split(part), y.split(part), strict=True):
            own.mul_((ours / t)[:, None])
            other.mul_((theirs / t)[:, None])
            q, p = own.softmax(-1), other.softmax(-1)
            # KL = sum(p * (y - z)) + logsumexp(z) - logsumexp(y); logsumexp = max(z) - log(max(softmax)).
            for sign, logits, softmax in ((1, own, q), (-1, other, p)):
                total += sign * (logits.amax(-1) - softmax.amax(-1).log()).sum()
            total += other.sub_(own).mul_(p).sum()
            torch.sub(q, p, out=other)
            share += torch.mul(other, own, out=p).sum(-1).sum(0)
        share = all_reduce_mean(share / (batch * cells)) if normalise else torch.zeros_like(share)
        ctx.save_for_backward(z, y, centre, ours, share)
        layout = torch.channels_last if student.is_contiguous(memory_format=torch.channels_last) else None
        ctx.t, ctx.shape = t, student.shape
        ctx.form = {"dtype": student.dtype, "memory_format": layout or torch.contiguous_format}
        return t**2 * total / (batch * channels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """The formula above, computed in place in the saved tensors."""
        z, g, centre, ratio, share = ctx.saved_tensors
        weight = gradient * ctx.t**2 / (z.shape[0] * z.shape[1])
        first, second = weight * ratio / ctx.t, weight * ratio * ctx.t * share
        third = weight * ratio**2 * share * centre
        part = IMAGES_PER_CHUNK if z.device.type == "cpu" else len(z)
        for own, found in zip(z.split(part), g.split(part), strict=True):
            found.mul_(first[:, None]).addcmul_(own, second[:, None], value=-1).add_(third[:, None])
        return g.view(ctx.shape).to(**ctx.form), None, None, None


def _logits(maps: Tensor) -> Tensor:
    """A copy ``[B, C, h * w]`` in float32, or float64 for float64 maps."""
    wide = torch.promote_types(maps.dtype, torch.float32)
    return maps.to(wide, memory_format=torch.contiguous_format, copy=True).flatten(2)


def _moments(maps: Tensor, *, normalise: bool) -> tuple[Tensor, Tensor]:
    """Mean and 1 / standard deviation by channel of ``[B, C, n]``; 0 and 1 without ``normalise``."""
    if not normalise:
        return maps.new_zeros(maps.shape[1]), maps.new_ones(maps.shape[1])
    sums = maps.sum(-1).sum(0), torch.linalg.vector_norm(maps, dim=-1).square().sum(0)
    centre, square = all_reduce_mean(torch.stack(sums) / (maps.shape[0] * maps.shape[2]))
    return centre, torch.rsqrt((square - centre**2).clamp(min=0) + EPS)


def correlation_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the channels' correlation matrices, image by image.

    The matrix of an image has Pearson's r of every two channels over the cells: with deviations d from the
    channels' means, r = sum(d_i * d_j) / (h * w * s_i * s_j), where s^2 is the variance plus 1e-5. It does
    not depend on the scale and the mean of a channel; a channel that is constant has no correlation.

    Args:
        student: ``[B, C, h, w]``.
        teacher: ``[B, C, h, w]``.
    """
    ours, theirs = (_correlations(maps.flatten(2)) for maps in (student, teacher))
    return F.mse_loss(ours, theirs)


def _correlations(maps: Tensor) -> Tensor:
    """Correlation matrices ``[B, C, C]`` of maps ``[B, C, n]``."""
    deviations = maps - maps.mean(-1, keepdim=True)
    variance = deviations.square().mean(-1, keepdim=True)
    scaled = deviations * torch.rsqrt(variance + EPS) / maps.shape[-1] ** 0.5
    return torch.matmul(scaled, scaled.mT)


def standard_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared difference of standardised maps, as in PKD.

    Each channel is divided by its unbiased standard deviation over batch and cells, plus 1e-6 as in the
    reference. With n values in a channel, and deviations far above 1e-6, the distance is (n - 1) / n times
    1 - Pearson's r, mean over the channels.

    Args:
        student: ``[B, C, h, w]``.
        teacher: ``[B, C, h, w]``.
    """
    ours, theirs = (sync_standardise(maps, DEVIATION_EPS) for maps in (student, teacher))
    return F.mse_loss(ours, theirs) / 2


def generator(channels: int) -> nn.Sequential:
    """Generator of a full feature map from a masked one: 3x3 convolution, ReLU, 3x3 convolution."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 3, padding=1),
    )


def spatial_attention(magnitudes: Tensor, temperature: float) -> Tensor:
    """Spatial attention: softmax over the cells of the mean magnitude over channels, times their number.

    Args:
        magnitudes: Absolute values of a map, ``[B, C, h, w]``.
        temperature: A higher value makes the attention more uniform.

    Returns:
        ``[B, h, w]``; the mean over an image is 1.
    """
    magnitude = magnitudes.mean(1) / temperature  # [B, h, w]
    return magnitude[0].numel() * magnitude.flatten(1).softmax(1).view_as(magnitude)


def channel_attention(magnitudes: Tensor, temperature: float) -> Tensor:
    """Channel attention, computed alike over channels: magnitudes ``[B, C, h, w]`` to ``[B, C]``."""
    return magnitudes.shape[1] * (magnitudes.mean((2, 3)) / temperature).softmax(1)
