"""Regions of predictions on and around objects.

A *prior* is the initial box of a prediction: an anchor at the centre of its cell or, for a head without
anchors, a square of five strides. The *main region* of a true box is where the head assigns it predictions.
Its *ring* is where priors overlap it less: ``gamma * alpha <= DIoU < alpha``, with the threshold alpha of
ATSS, outside of the main region.

Overlaps of all boxes with all priors are computed from their overlaps along x and along y, which are
independent on a grid; this takes a few milliseconds in a step.

Source: Zhang et al., Bridging the Gap Between Anchor-based and Anchor-free Detection via Adaptive Training
Sample Selection, CVPR 2020, https://arxiv.org/abs/1912.02424 (alpha); Zheng et al., Localization Distillation
for Dense Object Detection, CVPR 2022, https://arxiv.org/abs/2102.12252 (the ring, there "valuable
localization region").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from distill.losses.anchor_assigner import build_targets
from distill.losses.task_aligned_assigner import assign
from distill.method import NetworkOutputs

Grids = Sequence[tuple[int, int]]
PriorsPx = Sequence[Sequence[tuple[float, float]]]

PRIOR_STRIDES = 5.0  # side of an anchor-free prior in strides, as in YOLOv6's warm-up
TOPK = 9  # candidate priors of ATSS for each level
BOXES_PER_CHUNK = 128  # more do not fit in the cache of a CPU
TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class AtssRegions:
    """Assignment of ATSS and the rings around the true boxes, by level.

    Attributes:
        positive: Positive priors of ATSS; bool ``[B, A, h, w]``.
        ring: IoU with the box of the ring (the largest for overlapping rings), 0 outside of rings; float32
            ``[B, A, h, w]``. It may include positive priors.
    """

    positive: list[Tensor]
    ring: list[Tensor]


def priors_px(anchors_px: PriorsPx, strides: Sequence[int]) -> PriorsPx:
    """The anchors or, without anchors, one square for each level; input pixels."""
    return anchors_px or [[(PRIOR_STRIDES * stride, PRIOR_STRIDES * stride)] for stride in strides]


def grids_of(outputs: NetworkOutputs) -> list[tuple[int, int]]:
    """Rows and columns of each level's raw map."""
    return [(level.shape[2], level.shape[3]) for level in outputs.raw]


def corners_of(targets: Tensor, grids: Grids, strides: Sequence[int]) -> Tensor:
    """True boxes as x1, y1, x2, y2 in input pixels; ``[n, 4]``."""
    size = targets.new_tensor([grids[0][1] * strides[0], grids[0][0] * strides[0]])
    centre, half = targets[:, 2:4] * size, targets[:, 4:6] * size / 2
    return torch.cat((centre - half, centre + half), 1)


def overlaps(
    boxes: Tensor, grid: tuple[int, int], priors: Sequence[tuple[float, float]], stride: int
) -> Tensor:
    """IoU of every box with every prior of a level.

    Args:
        boxes: x1, y1, x2, y2, input pixels; ``[n, 4]``.
        grid: Rows and columns.
        priors: Widths and heights, input pixels.
        stride: Input pixels per cell.

    Returns:
        ``[n, A, rows, columns]``.
    """
    sides = boxes.new_tensor(priors)  # [A, 2]
    across, down = _axes(boxes, grid, sides, stride)
    inter = across.shared[:, :, None] * down.shared[..., None]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None] + sides.prod(1)  # [n, A]
    return inter / (areas[..., None, None] - inter).clamp(min=TINY)


def centre_distance(
    boxes: Tensor, grid: tuple[int, int], priors: Sequence[tuple[float, float]], stride: int
) -> Tensor:
    """Penalty of DIoU: squared centre distance over the squared diagonal of the enclosing box.

    Arguments and result are those of ``overlaps``; DIoU = IoU - penalty.
    """
    across, down = _axes(boxes, grid, boxes.new_tensor(priors), stride)
    squares = [(x[:, :, None] ** 2, y[..., None] ** 2) for x, y in zip(across[1:], down[1:], strict=True)]
    (hull_x, hull_y), (distance_x, distance_y) = squares
    return (distance_x + distance_y) / (hull_x + hull_y)


class _Axis(NamedTuple):
    """Overlap of boxes and priors along one axis, input pixels; ``[n, A, cells]``.

    Attributes:
        shared: Length of the intersection.
        hull: Length of the enclosing interval.
        distance: Distance of the centres; ``[n, 1, cells]``.
    """

    shared: Tensor
    hull: Tensor
    distance: Tensor


def _axes(boxes: Tensor, grid: tuple[int, int], sides: Tensor, stride: int) -> tuple[_Axis, _Axis]:
    """The x axis and the y axis."""
    return (
        _axis(boxes[:, 0], boxes[:, 2], sides[:, 0], grid[1], stride),
        _axis(boxes[:, 1], boxes[:, 3], sides[:, 1], grid[0], stride),
    )


def _axis(low: Tensor, high: Tensor, side: Tensor, cells: int, stride: int) -> _Axis:
    centre = (torch.arange(cells, device=low.device) + 0.5) * stride
    start, end = centre - side[:, None] / 2, centre + side[:, None] / 2  # [A, cells]
    low, high = low.view(-1, 1, 1), high.view(-1, 1, 1)
    return _Axis(
        shared=(torch.minimum(high, end) - torch.maximum(low, start)).clamp(min=0),
        hull=torch.maximum(high, end) - torch.minimum(low, start),
        distance=centre - (low + high) / 2,
    )


def atss_regions(
    targets: Tensor, batch: int, grids: Grids, priors: PriorsPx, strides: Sequence[int], *, gamma: float
) -> AtssRegions:
    """Positive priors and rings of a batch by ATSS.

    Candidates of a box are the ``TOPK`` priors of each level whose centres are nearest (of anchor heads all
    anchors of the nearest cells, so 3 cells of 3); alpha is mean plus standard deviation of their IoU.

    Args:
        targets: image, class, cx, cy, w, h, normalised; float32 ``[n, 6]``, n may be 0.
        batch: Number of images.
        grids: Rows and columns of each level's map.
        priors: Widths and heights, input pixels, by level.
        strides: Input pixels per cell, by level.
        gamma: The ring's lower end as a fraction of alpha; 1 leaves no ring.
    """
    found = AtssRegions(
        [
            torch.zeros((batch, len(p), *g), dtype=torch.bool, device=targets.device)
            for p, g in zip(priors, grids, strict=True)
        ],
        [targets.new_zeros((batch, len(p), *g)) for p, g in zip(priors, grids, strict=True)],
    )
    boxes = corners_of(targets, grids, strides)
    shapes = list(zip(grids, priors, strides, strict=True))
    for image, some in zip(
        targets[:, 0].long().split(BOXES_PER_CHUNK), boxes.split(BOXES_PER_CHUNK), strict=True
    ):
        if len(some):
            _add_boxes(found, image, some, shapes, gamma)
    return found


def _add_boxes(
    found: AtssRegions,
    image: Tensor,
    boxes: Tensor,
    shapes: Sequence[tuple[tuple[int, int], Sequence[tuple[float, float]], int]],
    gamma: float,
) -> None:
    """Add boxes ``[n, 4]`` of images ``[n]`` to ``found``; shapes are grid, priors and stride by level."""
    ious = [overlaps(boxes, *shape) for shape in shapes]
    near = [_nearest(boxes, grid, stride, -(-TOPK // len(p))) for grid, p, stride in shapes]
    candidates = [
        iou.flatten(2).gather(2, cells[:, None].expand(-1, iou.shape[1], -1))  # [n, A, cells]
        for iou, cells in zip(ious, near, strict=True)
    ]
    every = torch.cat([c.flatten(1) for c in candidates], 1)
    alpha = (every.mean(1) + every.std(1)).view(-1, 1, 1, 1)
    for level, iou in enumerate(ious):
        (grid, _, stride), cells = shapes[level], near[level]
        inside = _inside(boxes, cells, grid, stride)
        box, prior, which = ((candidates[level] >= alpha[..., 0]) & inside[:, None]).nonzero(as_tuple=True)
        found.positive[level].flatten(2)[image[box], prior, cells[box, which]] = True
        diou = iou - centre_distance(boxes, *shapes[level])
        box, prior, y, x = ((diou >= gamma * alpha) & (diou < alpha) & (alpha > 0)).nonzero(as_tuple=True)
        ring = found.ring[level]
        place = ((image[box] * ring.shape[1] + prior) * grid[0] + y) * grid[1] + x
        ring.view(-1).scatter_reduce_(0, place, iou[box, prior, y, x], "amax")


def _nearest(boxes: Tensor, grid: tuple[int, int], stride: int, count: int) -> Tensor:
    """The cells whose centres are nearest to the boxes' centres; int64 ``[n, count]``, row by row."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / (2 * stride)  # [n, 2], cells
    x, y = (torch.arange(side, device=boxes.device) + 0.5 for side in reversed(grid))
    distance = (x - centre[:, :1])[:, None] ** 2 + (y - centre[:, 1:])[..., None] ** 2  # [n, rows, columns]
    return distance.flatten(1).topk(min(count, grid[0] * grid[1]), largest=False).indices


def _inside(boxes: Tensor, cells: Tensor, grid: tuple[int, int], stride: int) -> Tensor:
    """Whether the centres of cells ``[n, k]`` are inside of the boxes ``[n, 4]``; bool ``[n, k]``."""
    x, y = (cells % grid[1] + 0.5) * stride, (cells // grid[1] + 0.5) * stride
    low, high = boxes[:, :2, None], boxes[:, 2:, None]
    return (x > low[:, 0]) & (x < high[:, 0]) & (y > low[:, 1]) & (y < high[:, 1])


def anchor_assigned(
    targets: Tensor,
    batch: int,
    grids: Grids,
    anchors_px: PriorsPx,
    strides: Sequence[int],
    *,
    anchor_t: float,
) -> list[Tensor]:
    """Predictions that the anchor assignment assigns to a true box; bool ``[B, A, h, w]`` by level.

    See ``distill.losses.anchor_assigner``.
    """
    masks = []
    matches = build_targets(targets, grids, anchors_px, strides, anchor_t=anchor_t)
    for match, grid, anchors in zip(matches, grids, anchors_px, strict=True):
        mask = torch.zeros((batch, len(anchors), *grid), dtype=torch.bool, device=targets.device)
        mask[match.image, match.anchor, match.y, match.x] = True
        masks.append(mask)
    return masks


def task_aligned(targets: Tensor, teacher: NetworkOutputs, strides: Sequence[int]) -> list[Tensor]:
    """Predictions that task-aligned assignment assigns to a true box, from the teacher's predictions.

    The student's predictions are not used, so the region does not move during training. A box that no
    prediction of the teacher overlaps has no region.

    Args:
        targets: image, class, cx, cy, w, h, normalised; float32 ``[n, 6]``, n may be 0.
        teacher: Outputs of a teacher with a ``dfl`` head.
        strides: Input pixels per cell, by level.

    Returns:
        bool ``[B, 1, h, w]`` by level.
    """
    found = assign(teacher.raw, targets, strides)
    shapes = [level.shape[:4] for level in teacher.raw]
    chosen = torch.zeros(sum(map(math.prod, shapes)), dtype=torch.bool, device=targets.device)
    chosen[found.row[found.weight > 0]] = True
    parts = chosen.split([math.prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of paired boxes ``[M, 4]``, x1, y1, x2, y2 in any unit; ``[M]`` from -1 to 1."""
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - shared
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    return shared / union.clamp(min=TINY) - (hull - union) / hull.clamp(min=TINY)
