"""FGD: feature maps on objects and on background, weighted by the teacher's attention, and global context.

Terms, each a sum over the levels and a mean over the batch (the training loop multiplies them by the batch
size):

- ``fg``, ``bg``: squared differences, summed over channels and cells, times the teacher's attention to the
  cell and to the channel. A cell of an object has the weight 1 / (area of the object), the largest of these
  if objects overlap. The weights of the background cells of an image are equal and sum to 1.
- ``attention``: absolute differences of the two networks' attentions, summed.
- ``relation``: squared differences, summed, after a global-context block in each network has added a context
  vector to every cell. Both blocks are trained, also the teacher's, as in the reference; initially they add
  nothing.

The defaults are the reference's for one-stage anchor detectors with maps of 256 channels; it has none for
YOLOv5. Measured at the start of a training (random yolov5n, trained yolov5s, 320 x 320 pixels, detection loss
0.2): the terms sum to about 5 (fg 1, bg 3, attention 0.4, relation 0.6), and their gradient on the feature
maps is ten times that of the detection loss. The sums grow with the number of channels and cells. The author
advises weights that make the sum 0.1 to 2 times the detection loss: a ``weight`` of 0.004 to 0.07 here.

Source: Yang et al., Focal and Global Knowledge Distillation for Detectors, CVPR 2022,
https://arxiv.org/abs/2111.11837, and yzd-v/FGD (weights, boxes in cells, advice); the block: Cao et al.,
GCNet, https://arxiv.org/abs/1904.11492.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.methods._adapter import Adapter, align
from distill.methods._maps import channel_attention, spatial_attention

INPUTS: MethodInputs = "features"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies all terms before they are added to the detection loss.
        fg: Weight on objects; the paper's alpha.
        bg: Weight on the background; beta.
        attention: Weight of the difference of attentions; gamma.
        relation: Weight of the difference after the global-context blocks; lambda.
        temperature: Temperature of the attentions; a higher value makes them more uniform.
        adapter: Layer from the student's channels to the teacher's; the reference has none (``identity``)
            if both have the same channels.
    """

    weight: float = 1.0
    fg: float = 1e-3
    bg: float = 5e-4
    attention: float = 5e-4
    relation: float = 5e-6
    temperature: float = 0.5
    adapter: Adapter = "conv1x1"


class Loss(nn.Module):
    """The four terms over all levels."""

    def __init__(self, config: Config, info: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self.align = align(info, config.adapter)
        widths = info.teacher_channels.items()
        self.student_context = nn.ModuleDict({level: GlobalContext(width) for level, width in widths})
        self.teacher_context = nn.ModuleDict({level: GlobalContext(width) for level, width in widths})

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """Scalars ``fg``, ``bg``, ``attention`` and ``relation``.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes; detached.
            targets: image, class, cx, cy, w, h, normalised; float32 ``[n, 6]``, n may be 0.
        """
        config = self.config
        levels = [
            self._level(name, layer(student.features[name]), teacher.features[name].detach(), targets)
            for name, layer in self.align.items()
        ]
        fg, bg, attention, relation = (torch.stack(term).sum() for term in zip(*levels, strict=True))
        return {
            "fg": config.weight * config.fg * fg,
            "bg": config.weight * config.bg * bg,
            "attention": config.weight * config.attention * attention,
            "relation": config.weight * config.relation * relation,
        }

    def _level(self, name: str, student: Tensor, teacher: Tensor, targets: Tensor) -> list[Tensor]:
        """The four unweighted terms of one level; both maps ``[B, Ct, h, w]``."""
        batch, _, height, width = student.shape
        t = self.config.temperature
        ours, theirs = student.abs(), teacher.abs()
        cells, channels = spatial_attention(theirs, t), channel_attention(theirs, t)
        difference = student - teacher
        cost = cells * torch.einsum("bc,bchw->bhw", channels, difference.square())
        fg, bg = object_masks(targets, batch, (height, width))
        attention = (spatial_attention(ours, t) - cells).abs().sum()
        attention = attention + (channel_attention(ours, t) - channels).abs().sum()
        added = self.student_context[name](student) - self.teacher_context[name](teacher)  # [B, C]
        relation = (difference + added[..., None, None]).square().sum()
        return [term / batch for term in ((fg * cost).sum(), (bg * cost).sum(), attention, relation)]


class GlobalContext(nn.Module):
    """Global-context block: a weighted mean over the cells, then two linear layers.

    The last layer starts at zero.

    Args:
        channels: Channels of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # No bias: it would not change the softmax over the cells.
        self.look = nn.Conv2d(channels, 1, 1, bias=False)
        hidden = max(channels // 2, 1)
        last = nn.Linear(hidden, channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.say = nn.Sequential(nn.Linear(channels, hidden), nn.LayerNorm(hidden), nn.ReLU(), last)

    def forward(self, maps: Tensor) -> Tensor:
        """``[B, C, h, w]`` to ``[B, C]``."""
        attention = self.look(maps).flatten(1).softmax(1)  # [B, h * w]
        context = torch.einsum("bcn,bn->bc", maps.flatten(2), attention)
        added: Tensor = self.say(context)
        return added


def object_masks(targets: Tensor, batch: int, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Weights of cells on objects and on the background.

    A box covers the cells from ``floor`` of its low corner to ``ceil`` of its high corner, both included. Its
    area is the number of these cells, including those outside of the map, as in the reference.

    Args:
        targets: image, class, cx, cy, w, h, normalised; float32 ``[n, 6]``, n may be 0.
        batch: Number of images.
        grid: Rows and columns of the map.

    Returns:
        Object weights, 1 / (area of the smallest object on the cell), and background weights, which are equal
        and sum to 1 for each image, or 0 if objects cover it; each float32 ``[B, rows, columns]``.
    """
    height, width = grid
    size = targets.new_tensor([width, height])
    low = ((targets[:, 2:4] - targets[:, 4:6] / 2) * size).floor()
    high = ((targets[:, 2:4] + targets[:, 4:6] / 2) * size).ceil()
    value = 1 / (high - low + 1).prod(1)  # [n]
    x, y = (torch.arange(side, device=targets.device) for side in (width, height))
    across = (x >= low[:, :1]) & (x <= high[:, :1])  # [n, columns]
    down = (y >= low[:, 1:]) & (y <= high[:, 1:])  # [n, rows]
    boxes = value.view(-1, 1, 1) * (down[:, :, None] & across[:, None, :])
    image = targets[:, 0].long().view(-1, 1, 1).expand_as(boxes)
    fg = targets.new_zeros(batch, height, width).scatter_reduce_(0, image, boxes, "amax")
    background = (fg == 0).float()
    return fg, background / background.sum((1, 2), keepdim=True).clamp(min=1)
