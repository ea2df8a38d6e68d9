"""FBKD: the teacher's maps where either network looks, their means, and how its cells relate to each other.

Terms, each a Euclidean distance (not squared), a sum over the levels and a mean over the batch (the loop
multiplies them by the batch size):

- ``feature``: of the maps, cells weighed by the mean of both networks' attentions;
- ``channel``: of the means over the cells;
- ``spatial``: of the means over the channels;
- ``relation``: of the maps behind a non-local block on either side, which adds to every cell what all cells
  say, weighed by how much they resemble it. Both blocks are trained, that on the teacher's map too, as in the
  reference; at first they add nothing.

The reference takes one distance over a whole batch, which grows with the root of its size; here each image
has its own, the reference's value for a batch of one. The similarities are plain dot products, as there,
so the block never needs a matrix of all cells by all cells: keys times values come first.

A fresh yolov5n with a trained yolov5s on 320 x 320 pixels begins at about 0.2 in all, as its detection loss,
and moves the student's maps a tenth as strongly as that.

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

norm = torch.linalg.vector_norm  # has gradient 0 where the distance is 0; a plain root has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies all terms before they join the detection loss.
        feature: Weight of the maps' distance.
        channel: Weight of the distance of means over cells.
        spatial: Weight of the distance of means over channels.
        relation: Weight of the distance behind the non-local blocks.
        temperature: Of the attentions; higher spreads them wider.
        subsample: Side of the windows of which the non-local block sees one key and value each, by level.
        reduction: Factor by which the block's inner maps are narrower, by level.
        adapter: What brings the student's maps, means and relations to the teacher's; a linear layer and a
            3x3 convolution for the means, unless it is ``identity``.
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
        UsageError: The settings are not for this number of levels.
    """

    def __init__(self, config: Config, pair: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self.align = align(pair, config.adapter)
        self.align_relation = align(pair, config.adapter)
        plain = config.adapter == "identity"
        self.align_channel, self.align_spatial = nn.ModuleDict(), nn.ModuleDict()
        self.student_relation, self.teacher_relation = nn.ModuleDict(), nn.ModuleDict()
        shapes = self._shapes(len(pair.student_channels))
        for (level, here), (reduction, side) in zip(pair.student_channels.items(), shapes, strict=True):
            there = pair.teacher_channels[level]
            self.align_channel[level] = nn.Identity() if plain else nn.Linear(here, there)
            self.align_spatial[level] = nn.Identity() if plain else nn.Conv2d(1, 1, 3, padding=1)
            self.student_relation[level] = NonLocal(here, reduction, side)
            self.teacher_relation[level] = NonLocal(there, reduction, side)

    def _shapes(self, levels: int) -> list[tuple[int, int]]:
        """Reduction and window side by level."""
        config = self.config
        for name in ("subsample", "reduction"):
            if len(getattr(config, name)) != levels:
                raise UsageError(
                    f"fbkd's {name} has {len(getattr(config, name))} entries, the model has {levels} levels",
                    hint=f"give one a level, from fine to coarse, e.g. {name} = [4, 2, 2]",
                )
        return list(zip(config.reduction, config.subsample, strict=True))

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """Scalars ``feature``, ``channel``, ``spatial`` and ``relation``; true boxes are not looked at.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes; no gradient goes there.
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
            looked_at = (spatial_attention(student.abs(), t) + spatial_attention(teacher.abs(), t)) / 2
        per_cell = norm(self.align[level](student) - teacher, dim=1)
        channel = self.align_channel[level](student.mean((2, 3))) - teacher.mean((2, 3))
        spatial = self.align_spatial[level](student.mean(1, keepdim=True)) - teacher.mean(1, keepdim=True)
        ours = self.align_relation[level](self.student_relation[level](student))
        relation = ours - self.teacher_relation[level](teacher)
        return [
            norm((looked_at.sqrt() * per_cell).flatten(1), dim=1),
            norm(channel, dim=1),
            norm(spatial.flatten(1), dim=1),
            norm(relation.flatten(1), dim=1),
        ]


class NonLocal(nn.Module):
    """Adds to every cell the mean of all cells' values times the dot product of its query and their keys.

    The last layer's scale starts at zero.

    Args:
        channels: Of the map.
        reduction: Queries, keys and values have fewer channels by this factor.
        side: Of the windows; the largest key and value of each are taken, channel by channel.
    """

    def __init__(self, channels: int, reduction: int, side: int) -> None:
        super().__init__()
        inner = max(channels // reduction, 1)
        self.side = side
        self.query, self.key, self.value = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.out = nn.Conv2d(inner, channels, 1, bias=False)
        # Of the batch alone: the block exists in training only, and running means would be state for nothing.
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
