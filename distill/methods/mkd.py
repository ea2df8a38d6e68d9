"""MKD: the teacher's maps at several scales, through a random mask of frequencies, and channel by channel.

Four parts, each a mean over the levels and over the batch: the loop multiplies them by the batch size. Each
has a weight of its own, 0 switches it off and drops what it would train, so that a table of what each part
brings is a matter of settings:

- ``multi_scale``: squared difference of maps pooled by each of ``scales``, one term a scale.
- ``masked``: frequencies of the student's map are dropped at random; what is left is compared with the
  teacher's map. Without a ``generator`` this is, in expectation, the mean squared difference times 1 - zeta,
  with noise on its gradient. The value also holds the energy of the teacher's dropped frequencies, which no
  student can change; ``target = "masked"`` leaves it out, with the same gradient. With a ``generator`` a
  student must carry enough in any part of its frequencies to rebuild the teacher's whole map.
- ``alignment``: KL of each channel's softmax over the cells, as in channel-wise distillation.
- ``feature``: what the paper calls L_fea and does not define; off, or PKD's or the plain squared difference.

The mask is symmetric, M(k) = M(-k), as the spectrum of real values is. A mask without that symmetry halves
some amplitudes in place of keeping or dropping them and pulls the student towards 2 / (2 - zeta) times the
teacher's map.

With the defaults, a fresh yolov5n with a trained yolov5s begins at about 1.3 in all beside a detection loss
of 0.2, and moves the student's maps about as strongly as that.

The paper gives no pooling, scales, zeta or temperature, and not the levels; the defaults are this project's.

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
from distill.methods._maps import channel_divergence, rebuilder, standard_distance

INPUTS: MethodInputs = "features"

Compare = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies all parts before they join the detection loss; the paper's alpha.
        multi_scale: Weight of the pooled squared differences.
        masked: Weight of the comparison through a mask of frequencies.
        alignment: Weight of the channels' divergence.
        feature: What stands for L_fea.
        scales: Sides of the pooling windows, cells; 1 is no pooling.
        reduction: Of ``multi_scale``: ``mean`` over cells and channels of each pooled map, or the ``paper``'s
            sum over both, divided by the cells of the map that was not pooled.
        zeta: Chance that a frequency is dropped, in [0, 1].
        mask_per: Whether each ``image`` has a mask of its own, or the ``batch`` has one.
        keep_dc: Whether the mean of a channel is never dropped.
        generator: Whether a trained block rebuilds the map from what the mask left.
        target: Whether the masked map is compared with the teacher's ``full`` map or with its ``masked`` one.
        temperature: Of ``alignment``; higher spreads each channel's attention wider.
        adapter: What widens the student's maps to the teacher's channels.
    """

    weight: float = 1.0
    multi_scale: float = 1.0
    masked: float = 1.0
    alignment: float = 1.0
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
    """The parts that are on, on all levels."""

    def __init__(self, config: Config, pair: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self.align = align(pair, config.adapter)
        rebuild = config.generator and config.masked
        self.rebuild = nn.ModuleDict(
            {level: rebuilder(width) for level, width in pair.teacher_channels.items()} if rebuild else {}
        )

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """A scalar for each part that is on; true boxes are not looked at.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes; no gradient goes there.
            targets: float32 ``[n, 6]``.
        """
        levels = [
            # Contiguous: on a CPU, channels-last maps take longer to transform and to pool.
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
            terms["alignment"] = config.alignment * channel_divergence(student, teacher, config.temperature)
        if config.feature != "off":
            compare: Compare = standard_distance if config.feature == "pkd" else F.mse_loss
            terms["feature"] = compare(student, teacher)
        return terms

    def _masked(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        config = self.config
        mask = frequency_mask(
            len(student) if config.mask_per == "image" else 1,
            (student.shape[2], student.shape[3]),
            config.zeta,
            keep_dc=config.keep_dc,
        ).to(student.device)
        left = drop_frequencies(student, mask)
        if self.rebuild:
            left = self.rebuild[name](left)
        if config.target == "masked":
            teacher = drop_frequencies(teacher, mask)
        return F.mse_loss(left, teacher)


def pooled_distance(
    student: Tensor, teacher: Tensor, scales: tuple[int, ...], reduction: Literal["mean", "paper"]
) -> Tensor:
    """Sum over the scales of the squared difference of average-pooled maps.

    Windows at the right and lower edge that a map does not fill are averaged over what they hold.

    Args:
        student: ``[B, C, h, w]``.
        teacher: ``[B, C, h, w]``.
        scales: Sides and steps of the windows, cells.
        reduction: See ``Config``.
    """
    difference = student - teacher  # pooling is linear: one map to pool in place of two
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
    """Random masks for the half spectrum that ``rfft2`` gives, from torch's global generator.

    Drawn on the CPU, so that every device has the same.

    Args:
        count: Number of masks.
        size: Height and width of the map.
        zeta: Chance that a frequency is dropped.
        keep_dc: Whether frequency 0, the mean, is always kept.

    Returns:
        float32 ``[count, 1, h, w // 2 + 1]`` of zeros and ones, with M(k) = M(-k).
    """
    height, width = size
    mask = (torch.rand(count, 1, height, width // 2 + 1) >= zeta).float()
    # Only these columns hold k and -k both; elsewhere irfft2 itself takes -k to be k's conjugate.
    for column in {0, width // 2} if width % 2 == 0 else {0}:
        half = height // 2 + 1
        mask[:, :, half:, column] = mask[:, :, 1 : height - half + 1, column].flip(-1)
    if keep_dc:
        mask[:, :, 0, 0] = 1
    return mask


def drop_frequencies(maps: Tensor, mask: Tensor) -> Tensor:
    """Maps ``[B, C, h, w]`` without the frequencies at which the mask is 0, in float32."""
    spectrum = torch.fft.rfft2(maps.float()) * mask
    # The size is needed: irfft2 takes an odd width to be the even one below it.
    left: Tensor = torch.fft.irfft2(spectrum, s=(maps.shape[2], maps.shape[3]))
    return left
