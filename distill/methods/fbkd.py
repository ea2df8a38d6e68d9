"""FBKD: feature maps weighted by attention, their means over cells and channels, and relations of cells.

Terms, each a Euclidean distance (not squared), a sum over the levels and a mean over the batch (the training
loop multiplies them by the batch size):

- ``feature``: of the maps, with cells weighted by the mean of both networks' attentions;
- ``channel``: of the means over the cells;
- ``spatial``: of the means over the channels;
- ``relation``: of the maps after a non-local block in each network, which adds to each cell the values of all
  cells, weighted by their similarity. Both blocks are trained, also the teacher's, as in the reference;
  initially they add nothing.

The reference takes one distance over the whole batch, which grows with the square root of its size; here each
image has its own distance, which is the reference's value for a batch of one. Similarities are plain dot
products, as in the reference, so keys times values are computed first and no cells x cells matrix is needed.

Measured at the start of a training (random yolov5n, trained yolov5s, 320 x 320 pixels): the terms sum to
about 0.2, as the detection loss, and their gradient on the student's feature maps is a tenth of that of the
detection loss.

Source: Zhang and Ma, Improve Object Detection with Feature-based Knowledge Distillation: Towards Accurate and
Efficient Detectors, ICLR 2021, https://openreview.net/forum?id=uKhGRvM8QNH; weights, reductions and
subsampling: open-mmlab/mmrazor; the block: Wang et al., Non-local Neural Networks,
https://arxiv.org/abs/1711.07971.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.methods._adapter import Adapter, align
from distill.methods._maps import spatial_attention
from edgestill.errors import UsageError

INPUTS: MethodInputs = "features"

norm = torch.linalg.vector_norm  # gradient 0 at distance 0, where that of a square root is not finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies all terms before they are added to the detection loss.
        feature: Weight of the maps' distance.
        channel: Weight of the distance of means over cells.
        spatial: Weight of the distance of means over channels.
        relation: Weight of the distance after the non-local blocks.
        temperature: Temperature of the attentions; a higher value makes them more uniform.
        subsample: Side of the pooling windows for keys and values of the non-local block, by level.
        reduction: Ratio of channels to inner channels of the block, by level.
        adapter: Layer from the student's channels to the teacher's. Unless it is ``identity``, the means have
            a linear layer and a 3x3 convolution.
    """

    weight: float = 1.0
    feature: float = 7e-5
    channel: float = 4e-3
    spatial: float = 4e-3
    relation: float = 7e-5
    temperature: float = 0.5
    subsample: tuple[int, ...] = (4, 2, 2)
    reduction: tuple[int, ...] = (4, 2, 2)
    adapter: Adapter = "conv1x1"


class Loss(nn.Module):
    """The four distances over all levels.

    Raises:
        UsageError: ``subsample`` or ``reduction`` has the wrong number of entries.
    """

    def __init__(self, config: Config, info: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self.align = align(info, config.adapter)
        self.align_relation = align(info, config.adapter)
        no_adapter = config.adapter == "identity"
        self.align_channel, self.align_spatial = nn.ModuleDict(), nn.ModuleDict()
        self.student_relation, self.teacher_relation = nn.ModuleDict(), nn.ModuleDict()
        shapes = self._shapes(len(info.student_channels))
        for (level, inputs), (reduction, side) in zip(info.student_channels.items(), shapes, strict=True):
            outputs = info.teacher_channels[level]
            self.align_channel[level] = nn.Identity() if no_adapter else nn.Linear(inputs, outputs)
            self.align_spatial[level] = nn.Identity() if no_adapter else nn.Conv2d(1, 1, 3, padding=1)
            self.student_relation[level] = NonLocal(inputs, reduction, side)
            self.teacher_relation[level] = NonLocal(outputs, reduction, side)

    def _shapes(self, levels: int) -> list[tuple[int, int]]:
        """Reduction and window side by level."""
        config = self.config
        for name in ("subsample", "reduction"):
            if len(getattr(config, name)) != levels:
                raise UsageError(
                    f"fbkd's {name} has {len(getattr(config, name))} entries, the model has {levels} levels",
                    hint=f"give one entry for each level, from fine to coarse, e.g. {name} = [4, 2, 2]",
                )
        return list(zip(config.reduction, config.subsample, strict=True))

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """Scalars ``feature``, ``channel``, ``spatial`` and ``relation``; ground truth is not used.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes; detached.
            targets: float32 ``[n, 6]``.
        """
        config = self.config
        levels = [
            self._level(level, student.features[level], teacher.features[level].detach())
            for level in self.align
        ]
        feature, channel, spatial, relation = (
            torch.stack(term).sum(0).mean() for term in zip(*levels, strict=True)
        )
        return {
            "feature": config.weight * config.feature * feature,
            "channel": config.weight * config.channel * channel,
            "spatial": config.weight * config.spatial * spatial,
            "relation": config.weight * config.relation * relation,
        }

    def _level(self, level: str, student: Tensor, teacher: Tensor) -> list[Tensor]:
        """The four unweighted distances of one level, each ``[B]``."""
        t = self.config.temperature
        with torch.no_grad():
            attention = (spatial_attention(student.abs(), t) + spatial_attention(teacher.abs(), t)) / 2
        per_cell = norm(self.align[level](student) - teacher, dim=1)
        channel = self.align_channel[level](student.mean((2, 3))) - teacher.mean((2, 3))
        spatial = self.align_spatial[level](student.mean(1, keepdim=True)) - teacher.mean(1, keepdim=True)
        ours = self.align_relation[level](self.student_relation[level](student))
        relation = ours - self.teacher_relation[level](teacher)
        return [
            norm((attention.sqrt() * per_cell).flatten(1), dim=1),
            norm(channel, dim=1),
            norm(spatial.flatten(1), dim=1),
            norm(relation.flatten(1), dim=1),
        ]


class NonLocal(nn.Module):
    """Non-local block: adds to each cell the mean over all cells of value * (query . key).

    The scale of the last layer starts at zero.

    Args:
        channels: Channels of the map.
        reduction: Ratio of these to the channels of queries, keys and values.
        side: Side of the max pooling windows for keys and values, cells.
    """

    def __init__(self, channels: int, reduction: int, side: int) -> None:
        super().__init__()
        inner = max(channels // reduction, 1)
        self.side = side
        self.query, self.key, self.value = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.out = nn.Conv2d(inner, channels, 1, bias=False)
        # No running statistics: the block is used in training only.
        self.scale = nn.BatchNorm2d(channels, track_running_stats=False)
        nn.init.zeros_(self.scale.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """``[B, C, h, w]`` to the same shape."""
        query = self.query(maps).flatten(2)  # [B, inner, h * w]
        pooled = (F.max_pool2d(layer(maps), self.side, ceil_mode=True) for layer in (self.key, self.value))
        key, value = (some.flatten(2) for some in pooled)  # [B, inner, windows]
        mixed = value @ key.transpose(1, 2) @ query / key.shape[2]  # small matrices first
        added: Tensor = self.scale(self.out(mixed.view(len(maps), -1, *maps.shape[2:])))
        return maps + added
