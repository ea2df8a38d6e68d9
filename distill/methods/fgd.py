"""FGD: copy the teacher's maps on objects and beside them, most where it looks, and its sense of the whole.

Terms, each a sum over the levels and a mean over the batch (the loop multiplies them by the batch size):

- ``fg``, ``bg``: squared differences, summed over channels and cells, times the teacher's attention to the
  cell and to the channel. A cell of an object weighs one over the object's area, the largest of these where
  objects overlap; the other cells share a weight of one an image.
- ``attention``: absolute differences of the two networks' attentions, summed.
- ``relation``: squared differences, summed, after a global-context block on either side has added to every
  cell what the map as a whole says. Both blocks are trained, that on the teacher's map too, as in the
  reference; at first they add nothing.

The defaults are the reference's for anchor detectors of one stage on maps of 256 channels; there is no advice
for YOLOv5. A fresh yolov5n with a trained yolov5s on 320 x 320 pixels begins at about 5 in all (fg 1, bg 3,
attention 0.4, relation 0.6) beside a detection loss of 0.2, and moves the maps ten times as strongly as that.
Sums grow with channels and cells, so more on larger images. The author advises to choose weights that make
the whole 0.1 to 2 times the detection loss: a ``weight`` of 0.004 to 0.07 here.

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
        weight: Multiplies all terms before they join the detection loss.
        fg: Weight on objects; the paper's alpha.
        bg: Weight beside them; beta.
        attention: Weight of the difference of attentions; gamma.
        relation: Weight of the difference after the global-context blocks; lambda.
        temperature: Of the attentions; higher spreads them wider.
        adapter: What widens the student's maps to the teacher's channels; the reference has none where both
            are equally wide, which is ``identity``.
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

    def __init__(self, config: Config, pair: StudentTeacherInfo) -> None:
        super().__init__()
        self.config = config
        self.align = align(pair, config.adapter)
        widths = pair.teacher_channels.items()
        self.student_context = nn.ModuleDict({level: GlobalContext(width) for level, width in widths})
        self.teacher_context = nn.ModuleDict({level: GlobalContext(width) for level, width in widths})

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """Scalars ``fg``, ``bg``, ``attention`` and ``relation``.

        Args:
            student: Maps ``[B, Cs, h, w]``.
            teacher: Maps ``[B, Ct, h, w]`` of the same sizes; no gradient goes there.
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
        apart = (spatial_attention(ours, t) - cells).abs().sum()
        apart = apart + (channel_attention(ours, t) - channels).abs().sum()
        added = self.student_context[name](student) - self.teacher_context[name](teacher)  # [B, C]
        relation = (difference + added[..., None, None]).square().sum()
        return [term / batch for term in ((fg * cost).sum(), (bg * cost).sum(), apart, relation)]


class GlobalContext(nn.Module):
    """What a map as a whole adds to each of its cells: a weighted mean over the cells, through two layers.

    The last layer starts at zero.

    Args:
        channels: Of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # No bias: the softmax over the cells takes no notice.
        self.look = nn.Conv2d(channels, 1, 1, bias=False)
        hidden = max(channels // 2, 1)
        last = nn.Linear(hidden, channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.say = nn.Sequential(nn.Linear(channels, hidden), nn.LayerNorm(hidden), nn.ReLU(), last)

    def forward(self, maps: Tensor) -> Tensor:
        """``[B, C, h, w]`` to ``[B, C]``."""
        where = self.look(maps).flatten(1).softmax(1)  # [B, h * w]
        seen = torch.einsum("bcn,bn->bc", maps.flatten(2), where)
        added: Tensor = self.say(seen)
        return added


def object_masks(targets: Tensor, batch: int, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Weights of cells on objects and beside them.

    A box covers the cells from ``floor`` of its low to ``ceil`` of its high corner, both included, and its
    area is counted in these, even in those outside of the map, as in the reference.

    Args:
        targets: image, class, cx, cy, w, h, normalised; float32 ``[n, 6]``, n may be 0.
        batch: Number of images.
        grid: Rows and columns of the map.

    Returns:
        On objects, one over the area of the smallest object there; beside them, equal weights with sum 1 an
        image, or all 0 where objects cover it; two of float32 ``[B, rows, columns]``.
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
    beside = (fg == 0).float()
    return fg, beside / beside.sum((1, 2), keepdim=True).clamp(min=1)
