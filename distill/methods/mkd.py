"""MKD: feature maps at several scales, through a random mask of frequencies, and channel by channel.

Four parts, each a mean over the levels and over the batch: the training loop multiplies them by the batch
size. Each has a weight; 0 switches the part off and removes its layers:

- ``multi_scale``: squared difference of maps pooled by each of ``scales``, one term for each scale.
- ``masked``: random frequencies of the student's map are removed, and the result is compared with the
  teacher's map. Without a ``generator`` its expectation is the mean squared difference times 1 - zeta, with
  noise on the gradient. The value includes the energy of the teacher's removed frequencies, which is
  constant; ``target = "masked"`` omits it, with the same gradient. With a ``generator`` the teacher's full
  map is generated from the remaining frequencies.
- ``alignment``: KL of each channel's softmax over the cells, as in channel-wise distillation: equation 5. The
  text says something else, that alignment reduces "the disparity of the channel correlation matrix", and has
  no formula for it. ``align_by = "correlation"`` is that reading: the squared difference of the matrices of
  Pearson's r between the channels.
- ``feature``: the paper's L_fea, which it does not define; off, the PKD distance, or the squared difference.

The mask is symmetric, M(k) = M(-k), as the spectrum of a real map is. A mask without that symmetry halves
some amplitudes instead of keeping or removing them, and the optimum of the student becomes 2 / (2 - zeta)
times the teacher's map.

Measured at the start of a training with the defaults (random yolov5n, trained yolov5s; all methods are in
docs/results/term-sizes.md): the terms sum to 14 times the detection loss, with about its gradient on the
student's feature maps. ``alignment`` alone, on two batches of 8 windows of rendered scenes in FP32, is 2.5
times the detection loss with 0.23 times its gradient; by correlation it is 1.1 times the loss with 0.93 times
the gradient.

The paper does not give pooling, scales, zeta, temperature or levels; the defaults are this project's.

Source: Xu et al., MKD: Multi-Knowledge Distillation for Real-Time Object Detection on Edge Devices, for the
parts. ``alignment``: Shu et al., https://arxiv.org/abs/2011.13256; PKD: Cao et al.,
https://arxiv.org/abs/2207.02039; the generator: Yang et al., https://arxiv.org/abs/2205.01529.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.methods._adapter import Adapter, align
from distill.methods._maps import channel_divergence, correlation_distance, generator, standard_distance

INPUTS: MethodInputs = "features"

Compare = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies all parts before they are added to the detection loss; the paper's alpha.
        multi_scale: Weight of the pooled squared differences.
        masked: Weight of the comparison after frequency masking.
        alignment: Weight of the alignment of channels.
        align_by: What ``alignment`` compares: the ``distribution`` of each channel over the cells, or the
            ``correlation`` of the channels.
        feature: Variant of L_fea.
        scales: Sides of the pooling windows, cells; 1 is no pooling.
        reduction: Reduction of ``multi_scale``: ``mean`` over cells and channels of each pooled map, or
            ``paper``, the sum over both divided by the number of cells before pooling.
        zeta: Probability that a frequency is removed, in [0, 1].
        mask_per: Whether each ``image`` has its own mask, or the ``batch`` has one.
        keep_dc: Whether frequency 0, the mean of a channel, is always kept.
        generator: Whether a trained block generates the full map from the masked one.
        target: Whether the masked map is compared with the teacher's ``full`` or ``masked`` map.
        temperature: Softmax temperature of ``alignment`` by ``distribution``; a higher value makes the
            distributions more uniform.
        adapter: Layer from the student's channels to the teacher's.
    """

    weight: float = 1.0
    multi_scale: float = 1.0
    masked: float = 1.0
    alignment: float = 1.0
    align_by: Literal["distribution", "correlation"] = "distribution"
    feature: Literal["off", "pkd", "mse"] = "off"
    scales: tuple[int, ...] = (1, 2, 4)
    reduction: Literal["mean", "paper"] = "mean"
    zeta: float = 0.5
    mask_per: Literal["image", "batch"] = "image"
    keep_dc: bool = True
    generator: bool = False
    target: Literal["full", "masked"] = "full"
    temperature: float = 1.0
    adapter: Adapter = "conv1x1"


class Loss(nn.Module):
    """The active parts over all levels."""

    def __init__(self, config: Config, info: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self.align = align(info, config.adapter)
        has_generator = config.generator and config.masked
        self.rebuild = nn.ModuleDict(
            {level: generator(width) for level, width in info.teacher_channels.items()}
            if has_generator
            else {}
        )

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """One scalar for each active part; ground truth is not used.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes; detached.
            targets: float32 ``[n, 6]``.
        """
        levels = [
            # Contiguous: on a CPU, FFT and pooling are slower on channels-last maps.
            self._level(
                name, layer(student.features[name]).contiguous(), teacher.features[name].detach().contiguous()
            )
            for name, layer in self.align.items()
        ]
        return {
            part: self.config.weight * torch.stack([level[part] for level in levels]).mean()
            for part in levels[0]
        }

    def _level(self, name: str, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """The parts of one level; both maps ``[B, Ct, h, w]``."""
        config, terms = self.config, {}
        if config.multi_scale:
            terms["multi_scale"] = config.multi_scale * pooled_distance(
                student, teacher, config.scales, config.reduction
            )
        if config.masked:
            terms["masked"] = config.masked * self._masked(name, student, teacher)
        if config.alignment:
            terms["alignment"] = config.alignment * self._alignment(student, teacher)
        if config.feature != "off":
            compare: Compare = standard_distance if config.feature == "pkd" else F.mse_loss
            terms["feature"] = compare(student, teacher)
        return terms

    def _alignment(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.config.align_by == "correlation":
            return correlation_distance(student, teacher)
        return channel_divergence(student, teacher, self.config.temperature)

    def _masked(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        config = self.config
        mask = frequency_mask(
            len(student) if config.mask_per == "image" else 1,
            (student.shape[2], student.shape[3]),
            config.zeta,
            keep_dc=config.keep_dc,
        ).to(student.device)
        masked = drop_frequencies(student, mask)
        if self.rebuild:
            masked = self.rebuild[name](masked)
        if config.target == "masked":
            teacher = drop_frequencies(teacher, mask)
        return F.mse_loss(masked, teacher)


def pooled_distance(
    student: Tensor, teacher: Tensor, scales: tuple[int, ...], reduction: Literal["mean", "paper"]
) -> Tensor:
    """Sum over the scales of the squared difference of average-pooled maps.

    Windows that extend over the right or lower edge are averaged over their cells inside of the map.

    Args:
        student: ``[B, C, h, w]``.
        teacher: ``[B, C, h, w]``.
        scales: Sides and strides of the windows, cells.
        reduction: See ``Config``.
    """
    difference = student - teacher  # pooling is linear, so one map is pooled instead of two
    terms = []
    for side in scales:
        pooled = difference if side == 1 else F.avg_pool2d(difference, side, ceil_mode=True)
        squares = pooled.square()
        terms.append(squares.mean() if reduction == "mean" else squares.sum())
    total = torch.stack(terms).sum()
    if reduction == "mean":
        return total
    batch, _, height, width = student.shape
    return total / (batch * height * width)


def frequency_mask(count: int, size: tuple[int, int], zeta: float, *, keep_dc: bool) -> Tensor:
    """Random masks for the half spectrum of ``rfft2``, from torch's global random generator.

    They are drawn on the CPU, so all devices get the same masks.

    Args:
        count: Number of masks.
        size: Height and width of the map.
        zeta: Probability that a frequency is removed.
        keep_dc: Whether frequency 0, the mean, is always kept.

    Returns:
        float32 ``[count, 1, h, w // 2 + 1]`` of zeros and ones, with M(k) = M(-k).
    """
    height, width = size
    mask = (torch.rand(count, 1, height, width // 2 + 1) >= zeta).float()
    # Only these columns contain both k and -k; for the others irfft2 derives -k as the conjugate of k.
    for column in {0, width // 2} if width % 2 == 0 else {0}:
        half = height // 2 + 1
        mask[:, :, half:, column] = mask[:, :, 1 : height - half + 1, column].flip(-1)
    if keep_dc:
        mask[:, :, 0, 0] = 1
    return mask


def drop_frequencies(maps: Tensor, mask: Tensor) -> Tensor:
    """Maps ``[B, C, h, w]`` without the frequencies whose mask is 0, in float32."""
    spectrum = torch.fft.rfft2(maps.float()) * mask
    # Without the size, irfft2 returns an even width.
    filtered: Tensor = torch.fft.irfft2(spectrum, s=(maps.shape[2], maps.shape[3]))
    return filtered
