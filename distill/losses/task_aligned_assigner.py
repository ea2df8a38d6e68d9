"""Task-aligned assignment of true boxes to cells, by the quality of the current predictions.

Candidates for a box are the cells whose centre lies in it. The box is assigned to the ten candidates with the
highest alignment ``score**0.5 * CIoU**6``. A cell that is among the ten of several boxes goes to the box with
the highest CIoU. Its weight, which is also its class target, is the alignment, scaled so that the best cell
of a box gets the best CIoU of the box.

A *row* is the index of a cell in the batch, in the memory order of the raw maps: level, image, y, x. A
*position* is the index of a cell in one image: level, y, x.

Source: Feng et al., ICCV 2021, https://arxiv.org/abs/2108.07755; constants: ``TaskAlignedAssigner`` of
ultralytics/utils/tal.py and ``v8DetectionLoss``, https://github.com/ultralytics/ultralytics (facts only).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from distill.losses.anchor_loss import ciou
from distill.models.head_outputs import cell_centres, distances, split_columns

TOPK = 10  # cells for one box
OVERLAP_POWER = 6
TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Positives:
    """The assigned cells of a batch; each has one box.

    Attributes:
        row: Index of the cell; int64 ``[M]``, ascending.
        centre: Coordinates x, y of its centre, in cells; float32 ``[M, 2]``.
        class_id: Class of the box; int64 ``[M]``.
        box: Centre, width, height of the box, in cells; float32 ``[M, 4]``.
        weight: Normalised alignment, in [0, 1]; float32 ``[M]``.
    """

    row: Tensor
    centre: Tensor
    class_id: Tensor
    box: Tensor
    weight: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _TrueBoxes:
    """True boxes: image and class, int64 ``[n]``; cx, cy, w, h in input pixels, float32 ``[n, 4]``."""

    image: Tensor
    class_id: Tensor
    box: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Positions:
    """The positions of an image.

    Attributes:
        centre: Coordinates x, y of the cell centre, in cells of its level; float32 ``[P, 2]``.
        stride: Input pixels per cell; float32 ``[P, 1]``.
        first: Row of the position in the first image of the batch; int64 ``[P]``.
        step: Rows from an image to the next one; int64 ``[P]``.
    """

    centre: Tensor
    stride: Tensor
    first: Tensor
    step: Tensor

    def row(self, image: Tensor, position: Tensor) -> Tensor:
        """Rows of positions in images."""
        return self.first[position] + image * self.step[position]


@torch.no_grad()
def assign(raw: Sequence[Tensor], targets: Tensor, strides: Sequence[int]) -> Positives:
    """Assign true boxes to cells.

    Args:
        raw: ``[B, 1, h, w, 64 + nc]`` by level, any float type.
        targets: Image, class, cx, cy, w, h (normalised to the input); float32 ``[n, 6]``, n may be 0.
        strides: Input pixels per cell, by level. For the choice of candidates, a side of a box counts as at
            least the second stride.
    """
    grids = tuple((level.shape[2], level.shape[3]) for level in raw)
    positions = _positions(len(raw[0]), grids, tuple(strides), raw[0].device)
    height, width = (side * strides[0] for side in grids[0])
    image, class_id = targets[:, :2].long().unbind(1)
    size = targets.new_tensor([width, height, width, height])
    truth = _TrueBoxes(image=image, class_id=class_id, box=targets[:, 2:] * size)
    inside = _inside(truth.box, grids, strides)
    alignment, overlap = _align(raw, positions, inside, truth)
    box, position = _chosen(inside, alignment, overlap, image)
    row, order = positions.row(image[box], position).sort()
    box, position = box[order], position[order]
    return Positives(
        row=row,
        centre=positions.centre[position],
        class_id=class_id[box],
        box=truth.box[box] / positions.stride[position],
        weight=_weights(box, alignment[box, position], overlap[box, position], len(targets)),
    )


def rows_of(raw: Sequence[Tensor], row: Tensor) -> Tensor:
    """Rows of raw maps, float32 ``[M, 64 + nc]``; ``row`` is int64 ``[M]``, ascending. Differentiable."""
    counts = [level.numel() // level.shape[-1] for level in raw]
    ends = torch.tensor(counts, device=row.device).cumsum(0)
    cuts = [0, *torch.searchsorted(row, ends).tolist()]
    found, first = [], 0
    for level, count, low, high in zip(raw, counts, cuts, cuts[1:], strict=False):
        found.append(level.view(count, -1).index_select(0, row[low:high] - first))
        first += count
    return torch.cat(found).float()


def predicted_boxes(logits: Tensor, centre: Tensor) -> Tensor:
    """Boxes cx, cy, w, h in cells ``[M, 4]`` from logits ``[M, 64]`` and cell centres ``[M, 2]``."""
    low, high = distances(logits).chunk(2, 1)
    return torch.cat((centre + (high - low) / 2, low + high), 1)


@lru_cache(maxsize=8)  # image and batch sizes repeat during a training
def _positions(
    batch: int, grids: tuple[tuple[int, int], ...], strides: tuple[int, ...], device: torch.device
) -> _Positions:
    """The positions of the images of a batch."""
    like = torch.empty(0, device=device)
    counts = [height * width for height, width in grids]
    starts = [sum(counts[:level]) for level in range(len(counts))]
    count = torch.tensor(counts, device=device)
    level = torch.repeat_interleave(torch.arange(len(counts), device=device), count)
    start = torch.tensor(starts, device=device)[level]
    return _Positions(
        centre=torch.cat([cell_centres(*grid, like).flatten(0, 1) for grid in grids]),
        stride=torch.tensor(strides, device=device).float()[level, None],
        first=(batch - 1) * start + torch.arange(sum(counts), device=device),
        step=count[level],
    )


def _inside(box: Tensor, grids: Sequence[tuple[int, int]], strides: Sequence[int]) -> Tensor:
    """Whether the centre of a position lies in a box ``[n, 4]``; bool ``[n, P]``."""
    half = box[:, 2:].clamp(min=strides[min(1, len(strides) - 1)]) / 2
    low, high = box[:, :2] - half, box[:, :2] + half
    found = []
    for (height, width), stride in zip(grids, strides, strict=True):
        x, y = (stride * (torch.arange(side, device=box.device) + 0.5) for side in (width, height))
        columns = (x - low[:, :1] > TINY) & (high[:, :1] - x > TINY)  # [n, w]
        rows = (y - low[:, 1:] > TINY) & (high[:, 1:] - y > TINY)  # [n, h]
        found.append((rows[:, :, None] & columns[:, None]).flatten(1))
    return torch.cat(found, 1)


def _align(
    raw: Sequence[Tensor], positions: _Positions, inside: Tensor, truth: _TrueBoxes
) -> tuple[Tensor, Tensor]:
    """Alignment and CIoU of positions and boxes; ``[n, P]`` each, 0 for positions outside of a box."""
    box, position = inside.nonzero(as_tuple=True)
    row = positions.row(truth.image[box], position)
    # Several boxes may have the same candidate, and most cells are no candidates: decode each one once.
    wanted = torch.zeros(len(raw[0]) * inside.shape[1], dtype=torch.bool, device=row.device)
    wanted[row] = True
    index = (wanted.cumsum(0) - 1)[row]
    selected = split_columns(rows_of(raw, wanted.nonzero().squeeze(1)), "dfl")
    assert selected.box is not None
    reach = distances(selected.box)[index] * positions.stride[position]
    low, high = reach.chunk(2, 1)
    predicted = torch.cat(
        (positions.centre[position] * positions.stride[position] + (high - low) / 2, low + high), 1
    )
    fit = ciou(predicted, truth.box[box]).clamp(min=0)
    alignment, overlap = torch.zeros(2, *inside.shape, device=row.device)
    overlap[box, position] = fit
    alignment[box, position] = selected.cls[index, truth.class_id[box]].sigmoid().sqrt() * fit**OVERLAP_POWER
    return alignment, overlap


def _chosen(inside: Tensor, alignment: Tensor, overlap: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the assigned boxes and positions, int64 ``[M]`` each; the inputs are ``[n, P]``."""
    boxes, positions = alignment.shape
    if not boxes:
        return image, image  # empty as well
    best = alignment.topk(min(TOPK, positions), dim=1).indices
    box, rank = inside.gather(1, best).nonzero(as_tuple=True)
    position = best[box, rank]
    cell = image[box] * positions + position
    box_count = torch.bincount(cell)
    single = box_count[cell] == 1
    shared = (box_count > 1).nonzero().squeeze(1)
    shared_position = shared % positions
    candidates = torch.where(image[:, None] == shared // positions, overlap[:, shared_position], -1.0)
    owner = candidates.argmax(0)  # over all boxes of the image, as in the original, not only these candidates
    return torch.cat((box[single], owner)), torch.cat((position[single], shared_position))


def _weights(box: Tensor, alignment: Tensor, overlap: Tensor, boxes: int) -> Tensor:
    """Alignment, scaled so that the maximum of each box is its best CIoU; ``[M]``."""
    top_alignment, top_overlap = (
        values.new_zeros(boxes).scatter_reduce(0, box, values, "amax") for values in (alignment, overlap)
    )
    return alignment * top_overlap[box] / (top_alignment[box] + TINY)
