"""Columns of the raw head maps, for every kind of head, and differentiable box decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.method import NetworkOutputs
from edgestill.spec import HeadKind

BINS = 16  # for each distance of a ``dfl`` head
SIDES = 4


@dataclass(frozen=True, slots=True, eq=False)
class HeadColumns:
    """Views of the columns of one level's raw map ``[B, A, h, w, columns]``.

    Attributes:
        box: tx, ty, tw, th, or 4 x 16 logits of distances; ``[..., 4 or 64]``; None for heads without boxes.
        obj: Objectness logit, ``[...]``; None for heads without objectness.
        cls: Class logits, ``[..., nc]``.
    """

    box: Tensor | None
    obj: Tensor | None
    cls: Tensor


def split_columns(level: Tensor, head: HeadKind | None) -> HeadColumns:
    """Split the columns of one level's raw map."""
    if head is None:
        return HeadColumns(None, None, level)
    if head == "dfl":
        return HeadColumns(level[..., : SIDES * BINS], None, level[..., SIDES * BINS :])
    return HeadColumns(level[..., :SIDES], level[..., SIDES], level[..., SIDES + 1 :])


def confidence(outputs: NetworkOutputs) -> list[Tensor]:
    """Confidence that a cell contains an object, in [0, 1]; ``[B, h, w]`` by level.

    It is the maximum over the anchors of the highest class probability, times objectness if the head has it.
    Class logits of an end-to-end network are the mean of those of its two branches.
    """
    scores = []
    for index, level in enumerate(outputs.raw):
        part = split_columns(level, outputs.head)
        logits = (part.cls + outputs.one_to_one[index]) / 2 if outputs.one_to_one else part.cls
        best = logits.sigmoid().amax(-1)  # [B, A, h, w]
        scores.append((best if part.obj is None else best * part.obj.sigmoid()).amax(1))
    return scores


def cell_centres(height: int, width: int, like: Tensor) -> Tensor:
    """Coordinates x, y of the centre of every cell, in cells; float32 ``[h, w, 2]``."""
    y, x = torch.meshgrid(
        torch.arange(height, device=like.device), torch.arange(width, device=like.device), indexing="ij"
    )
    return torch.stack((x, y), -1).float() + 0.5


def distances(box: Tensor) -> Tensor:
    """Expected distances left, top, right, bottom from the cell centre, in cells; 64 columns to 4."""
    bins = torch.arange(BINS, device=box.device, dtype=box.dtype)
    expected: Tensor = box.unflatten(-1, (SIDES, BINS)).softmax(-1) @ bins
    return expected


def boxes_px(
    level: Tensor, head: HeadKind, stride: int, anchors_px: Sequence[tuple[float, float]] = ()
) -> Tensor:
    """Corners of every predicted box, input pixels; differentiable.

    Args:
        level: One level's raw map ``[B, A, h, w, columns]``.
        head: Kind of head.
        stride: Input pixels per cell.
        anchors_px: Width and height of the level's anchors, input pixels; unused for ``dfl``.

    Returns:
        x1, y1, x2, y2; ``[B, A, h, w, 4]``.
    """
    box = split_columns(level, head).box
    assert box is not None
    centre = cell_centres(level.shape[2], level.shape[3], level) * stride  # [h, w, 2]
    if head == "dfl":
        return corners_px(box, head, centre, stride)
    anchors = torch.as_tensor(anchors_px, device=level.device, dtype=level.dtype).view(1, -1, 1, 1, 2)
    return corners_px(box, head, centre, stride, anchors)


def corners_px(
    box: Tensor, head: HeadKind, centre: Tensor, stride: float | Tensor, anchors: Tensor | None = None
) -> Tensor:
    """Corners of boxes from any selection of the box columns of a raw map; differentiable.

    Args:
        box: Box columns of the selection, ``[..., 4 or 64]``.
        head: Kind of head.
        centre: Coordinates x, y of the cell centres, input pixels; ``[..., 2]``.
        stride: Input pixels per cell.
        anchors: Width and height of the anchors, input pixels, ``[..., 2]``; None for ``dfl``.

    Returns:
        x1, y1, x2, y2; ``[..., 4]``.
    """
    if head == "dfl":
        distance = distances(box) * stride
        return torch.cat((centre - distance[..., :2], centre + distance[..., 2:]), -1)
    assert anchors is not None
    p = box.sigmoid()
    xy = centre + (2 * p[..., :2] - 1) * stride
    half = (2 * p[..., 2:]) ** 2 * anchors / 2
    return torch.cat((xy - half, xy + half), -1)
