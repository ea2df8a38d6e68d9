"""Ways to compare two feature maps of one shape, and a block that rebuilds one; methods share them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from distill.distributed import batch_norm


def standardise(maps: Tensor) -> Tensor:
    """Every channel of ``[B, C, h, w]`` to mean 0 and variance 1 over batch and cells.

    A channel of variance below 1e-5 shrinks towards 0 in place of being blown up.
    """
    # Contiguous first: the gradient of a channels-last float32 batch norm takes twice as long on a CPU.
    return batch_norm(maps.contiguous(), eps=1e-5)


def channel_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Where each channel looks: KL of its softmax over the cells, mean over batch and channels, times T^2.

    Args:
        student: ``[B, C, h, w]``.
        teacher: ``[B, C, h, w]``.
        temperature: T; softens both sides.
    """
    log_p = F.log_softmax(teacher.flatten(2) / temperature, dim=-1)  # [B, C, h*w]
    log_q = F.log_softmax(student.flatten(2) / temperature, dim=-1)
    per_channel = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)  # [B, C]
    return temperature**2 * per_channel.mean()


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
