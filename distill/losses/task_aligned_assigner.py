"""Which cells answer for which true box, by how well they do it already: task-aligned assignment.

A cell may answer for a box that its centre lies in; the ten with the highest ``score**0.5 * CIoU**6`` do. One
that is among the ten of several boxes answers for the box that it overlaps best. Its weight, which is its
class target too, is that measure, scaled so that the best cell of a box gets the box's best overlap.

Rows are cells in the order in which raw maps lie in memory: by level, then image, then y, then x. Places are
cells of one image: by level, then y, then x.

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
from distill.models.head_outputs import cell_centres, distances, parts

MOST = 10  # cells that answer for one box
OVERLAP_POWER = 6
TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Positives:
    """The answering cells of a batch; each answers for one box.

    Attributes:
        row: Which cell; int64 ``[M]``, ascending.
        centre: Horizontal and vertical place of its centre, in cells; float32 ``[M, 2]``.
        class_id: Of the box; int64 ``[M]``.
        box: Centre, width, height of the box, in cells; float32 ``[M, 4]``.
        weight: How well the cell answers, in [0, 1]; float32 ``[M]``.
    """

    row: Tensor
    centre: Tensor
    class_id: Tensor
    box: Tensor
    weight: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Truth:
    """True boxes: image and class, int64 ``[n]``; cx, cy, w, h in input pixels, float32 ``[n, 4]``."""

    image: Tensor
    class_id: Tensor
    box: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grid:
    """The places of an image.

    Attributes:
        centre: In cells of the place's level; float32 ``[P, 2]``.
        stride: Input pixels per cell; float32 ``[P, 1]``.
        first: Row of the place in the first image of the batch; int64 ``[P]``.
        step: Rows from an image to the next one; int64 ``[P]``.
    """

    centre: Tensor
    stride: Tensor
    first: Tensor
    step: Tensor

    def row(self, image: Tensor, place: Tensor) -> Tensor:
        """Rows of places in images."""
        return self.first[place] + image * self.step[place]


@torch.no_grad()
def assign(raw: Sequence[Tensor], targets: Tensor, strides: Sequence[int]) -> Positives:
    """Assign true boxes to cells.

    Args:
        raw: ``[B, 1, h, w, 64 + nc]`` by level, any float type.
        targets: Image, class, cx, cy, w, h (normalised to the input); float32 ``[n, 6]``, n may be 0.
        strides: Input pixels per cell, by level. A side that is smaller than the second one counts as that
            long where cells are looked for.
    """
    grids = tuple((level.shape[2], level.shape[3]) for level in raw)
    grid = _grid(len(raw[0]), grids, tuple(strides), raw[0].device)
    height, width = (side * strides[0] for side in grids[0])
    image, class_id = targets[:, :2].long().unbind(1)
    size = targets.new_tensor([width, height, width, height])
    truth = _Truth(image=image, class_id=class_id, box=targets[:, 2:] * size)
    inside = _inside(truth.box, grids, strides)
    measure, overlap = _fit(raw, grid, inside, truth)
    box, place = _chosen(inside, measure, overlap, image)
    row, order = grid.row(image[box], place).sort()
    box, place = box[order], place[order]
    return Positives(
        row=row,
        centre=grid.centre[place],
        class_id=class_id[box],
        box=truth.box[box] / grid.stride[place],
        weight=_weights(box, measure[box, place], overlap[box, place], len(targets)),
    )


def rows_of(raw: Sequence[Tensor], row: Tensor) -> Tensor:
    """Rows of raw maps, ``[M, 64 + nc]`` float32; ``row`` is int64 ``[M]``, ascending. Differentiable."""
    counts = [level.numel() // level.shape[-1] for level in raw]
    ends = torch.tensor(counts, device=row.device).cumsum(0)
    cuts = [0, *torch.searchsorted(row, ends).tolist()]
    found, first = [], 0
    for level, count, low, high in zip(raw, counts, cuts, cuts[1:], strict=False):
        found.append(level.view(count, -1).index_select(0, row[low:high] - first))
        first += count
    return torch.cat(found).float()


def predicted_boxes(logits: Tensor, centre: Tensor) -> Tensor:
    """Centre, width, height, in cells ``[M, 4]``, of logits ``[M, 64]`` in cells with these centres."""
    low, high = distances(logits).chunk(2, 1)
    return torch.cat((centre + (high - low) / 2, low + high), 1)


@lru_cache(maxsize=8)  # sizes and batches of a training repeat
def _grid(
    batch: int, grids: tuple[tuple[int, int], ...], strides: tuple[int, ...], device: torch.device
) -> _Grid:
    """The places of the images of a batch."""
    like = torch.empty(0, device=device)
    counts = [height * width for height, width in grids]
    starts = [sum(counts[:level]) for level in range(len(counts))]
    count = torch.tensor(counts, device=device)
    level = torch.repeat_interleave(torch.arange(len(counts), device=device), count)
    start = torch.tensor(starts, device=device)[level]
    return _Grid(
        centre=torch.cat([cell_centres(*grid, like).flatten(0, 1) for grid in grids]),
        stride=torch.tensor(strides, device=device).float()[level, None],
        first=(batch - 1) * start + torch.arange(sum(counts), device=device),
        step=count[level],
    )


def _inside(box: Tensor, grids: Sequence[tuple[int, int]], strides: Sequence[int]) -> Tensor:
    """Whether the centre of a place lies in a box ``[n, 4]``; ``[n, P]``."""
    half = box[:, 2:].clamp(min=strides[min(1, len(strides) - 1)]) / 2
    low, high = box[:, :2] - half, box[:, :2] + half
    found = []
    for (height, width), stride in zip(grids, strides, strict=True):
        x, y = (stride * (torch.arange(side, device=box.device) + 0.5) for side in (width, height))
        columns = (x - low[:, :1] > TINY) & (high[:, :1] - x > TINY)  # [n, w]
        rows = (y - low[:, 1:] > TINY) & (high[:, 1:] - y > TINY)  # [n, h]
        found.append((rows[:, :, None] & columns[:, None]).flatten(1))
    return torch.cat(found, 1)


def _fit(raw: Sequence[Tensor], grid: _Grid, inside: Tensor, truth: _Truth) -> tuple[Tensor, Tensor]:
    """How well a place answers for a box, and how much it overlaps it; ``[n, P]`` each, 0 outside of it."""
    box, place = inside.nonzero(as_tuple=True)
    row = grid.row(truth.image[box], place)
    # Several boxes may want one cell, and most cells none: each that is wanted is decoded once.
    wanted = torch.zeros(len(raw[0]) * inside.shape[1], dtype=torch.bool, device=row.device)
    wanted[row] = True
    at = (wanted.cumsum(0) - 1)[row]
    seen = parts(rows_of(raw, wanted.nonzero().squeeze(1)), "dfl")
    assert seen.box is not None
    reach = distances(seen.box)[at] * grid.stride[place]
    low, high = reach.chunk(2, 1)
    predicted = torch.cat((grid.centre[place] * grid.stride[place] + (high - low) / 2, low + high), 1)
    fit = ciou(predicted, truth.box[box]).clamp(min=0)
    measure, overlap = torch.zeros(2, *inside.shape, device=row.device)
    overlap[box, place] = fit
    measure[box, place] = seen.cls[at, truth.class_id[box]].sigmoid().sqrt() * fit**OVERLAP_POWER
    return measure, overlap


def _chosen(inside: Tensor, measure: Tensor, overlap: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs of a box and a place that answers for it, int64 ``[M]`` each; the maps are ``[n, P]``."""
    boxes, places = measure.shape
    if not boxes:
        return image, image  # empty as well
    best = measure.topk(min(MOST, places), dim=1).indices
    box, rank = inside.gather(1, best).nonzero(as_tuple=True)
    place = best[box, rank]
    cell = image[box] * places + place
    wanted_by = torch.bincount(cell)
    single = wanted_by[cell] == 1
    disputed = (wanted_by > 1).nonzero().squeeze(1)
    where = disputed % places
    rivals = torch.where(image[:, None] == disputed // places, overlap[:, where], -1.0)
    owner = rivals.argmax(0)  # any box of the image, also one that has ten better cells, as in the original
    return torch.cat((box[single], owner)), torch.cat((place[single], where))


def _weights(box: Tensor, measure: Tensor, overlap: Tensor, boxes: int) -> Tensor:
    """How well each pair fits, scaled so that a box's best measure becomes its best overlap; ``[M]``."""
    top_measure, top_overlap = (
        values.new_zeros(boxes).scatter_reduce(0, box, values, "amax") for values in (measure, overlap)
    )
    return measure * top_overlap[box] / (top_measure[box] + TINY)
