"""YOLOv5's anchor assignment: true boxes to cells and anchors.

Source: utils/loss.py, ``build_targets``, of https://github.com/ultralytics/yolov5, tag v7.0 (the rule only).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.models.head import AnchorsPx

#: Offsets (x, y) of the neighbour cells that may also be assigned: left, up, right, down.
_NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assignment:
    """Assigned predictions of one level. A box has up to 3 cells for each anchor; entries may share a cell.

    Attributes:
        image: Index in the batch; int64 ``[M]``.
        anchor: Index of the anchor in the level; int64 ``[M]``.
        y: Row of the cell; int64 ``[M]``.
        x: Column of the cell; int64 ``[M]``.
        class_id: Class of the box; int64 ``[M]``.
        box: Centre relative to the corner of the cell, width, height, in cells; float32 ``[M, 4]``.
        anchor_wh: Width and height of the anchor, cells; float32 ``[M, 2]``.
    """

    image: Tensor
    anchor: Tensor
    y: Tensor
    x: Tensor
    class_id: Tensor
    box: Tensor
    anchor_wh: Tensor

    def __len__(self) -> int:
        return len(self.image)


def build_targets(
    targets: Tensor,
    grids_hw: Sequence[tuple[int, int]],
    anchors_px: AnchorsPx,
    strides: Sequence[int],
    *,
    anchor_t: float = 4.0,
) -> list[Assignment]:
    """Assign true boxes to predictions, level by level.

    A box is assigned to an anchor if the ratio of both sides is below ``anchor_t``. It is assigned to the
    cell of its centre, and to the nearest neighbour cell in x and in y, if these are inside of the map.

    Args:
        targets: Image, class, cx, cy, w, h (normalised to the input); float32 ``[n, 6]``.
        grids_hw: Rows and columns of each level's map.
        anchors_px: Anchor width and height in input pixels, by level.
        strides: Input pixels per cell, by level.
        anchor_t: Maximum ratio between the sides of box and anchor, in both directions.
    """
    return [
        _assign(targets, grid_hw, torch.tensor(level, device=targets.device) / stride, anchor_t)
        for grid_hw, level, stride in zip(grids_hw, anchors_px, strides, strict=True)
    ]


def _assign(targets: Tensor, grid_hw: tuple[int, int], anchors: Tensor, anchor_t: float) -> Assignment:
    """Assign on one level; anchors ``[A, 2]`` in cells."""
    height, width = grid_hw
    size = targets.new_tensor([width, height])
    centre, side = targets[:, 2:4] * size, targets[:, 4:6] * size
    ratio = side / anchors[:, None]  # [A, n, 2]
    anchor, box = (torch.maximum(ratio, 1 / ratio).amax(-1) < anchor_t).nonzero(as_tuple=True)

    xy = centre[box]
    from_low, from_high = xy, size - xy
    near = torch.cat(
        (
            (from_low % 1 < 0.5) & (from_low > 1),  # columns left, up
            (from_high % 1 < 0.5) & (from_high > 1),  # columns right, down
        ),
        1,
    )
    # Order: the cell of the centre, then left, up, right, down. If entries share a cell, the last one counts.
    direction, which = near.T.nonzero(as_tuple=True)
    entry = torch.cat((torch.arange(len(box), device=box.device), which))
    step = torch.cat((xy.new_zeros(len(box), 2), 0.5 * xy.new_tensor(_NEIGHBOURS)[direction]))
    anchor, box, xy = anchor[entry], box[entry], xy[entry]
    cell = (xy + step).long()
    cell = torch.minimum(cell.clamp(min=0), size.long() - 1)
    return Assignment(
        image=targets[box, 0].long(),
        anchor=anchor,
        y=cell[:, 1],
        x=cell[:, 0],
        class_id=targets[box, 1].long(),
        box=torch.cat((xy - cell, side[box]), 1),
        anchor_wh=anchors[anchor],
    )
