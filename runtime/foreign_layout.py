"""The layout of an output of another exporter, from its shape or from what it holds for a grey image.

A shape tells a layout only if it fits no other one. Boxes of YOLOv5 are ``[B, 3 * cells, 5 + nc]``, of YOLOv8
``[B, 4 + nc, cells]``. End-to-end detections are ``[B, N, 6]``, with the angle of rotated boxes
``[B, N, 7]``: with one or two classes these are the columns of YOLOv5, too, and the number of rows has to
decide.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.spec import COCO_ANCHORS_PX, Layout

END_TO_END_COLUMNS = 6  # x0, y0, x1, y1, score, class id
AMBIGUOUS = frozenset({END_TO_END_COLUMNS, END_TO_END_COLUMNS + 1})
FIRST_STRIDES = (4, 8, 16)  # of the first level, with P2, with P3, without either
ANCHORS = len(COCO_ANCHORS_PX[0])
NORMALIZED_LIMIT = (
    2.0  # boxes in shares of the input end at about 1, boxes in pixels of 32 and more further out
)


def layout_of_shape(
    rows: int, columns: int, nc: int, input_hw: tuple[int, int], stride: int
) -> Layout | None:
    """The one layout of boxes before NMS that a shape ``[B, rows, columns]`` fits; None for none or several.

    Args:
        rows: Size of axis 1.
        columns: Size of axis 2.
        nc: Number of classes.
        input_hw: Height and width of the input, pixels.
        stride: The network's largest.
    """
    cells = _cells(input_hw, stride)
    all_v5, all_v8 = rows in {ANCHORS * n for n in cells}, columns in cells
    of_v5 = columns == 5 + nc and (all_v5 or columns not in AMBIGUOUS)
    of_v8 = rows == 4 + nc and (all_v8 or rows not in AMBIGUOUS)
    if of_v5 and of_v8:  # both fit: the number of boxes decides
        of_v5, of_v8 = all_v5, all_v8
    if of_v5 == of_v8:
        return None
    return "yolov5" if of_v5 else "yolov8"


def layout_of_rows(output: NDArray[Any], nc: int) -> Layout | None:
    """Whether end-to-end detections are in pixels or normalised; None if their columns are others.

    A network without NMS fills all rows, with low scores on a grey image. NMS inside leaves padding: zeros,
    or class -1; of padding alone the boxes are taken to be in pixels, as ``yolo export`` writes them.

    Args:
        output: float ``[B, N, 6]``.
        nc: Number of classes.
    """
    rows = output.reshape(-1, END_TO_END_COLUMNS).astype(np.float32)
    score, class_id = rows[:, 4], rows[:, 5]
    if (score > 1).any() or (class_id != np.round(class_id)).any() or (class_id >= nc).any():
        return None
    boxes = rows[(rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1]), :4]
    return "end2end-normalized" if len(boxes) and boxes.max() <= NORMALIZED_LIMIT else "end2end"


def _cells(input_hw: tuple[int, int], stride: int) -> set[int]:
    """The numbers of cells that an input can have over all levels up to a stride."""
    height, width = input_hw
    levels = [[first << i for i in range(8) if first << i <= stride] for first in FIRST_STRIDES]
    return {sum((height // s) * (width // s) for s in strides) for strides in levels}
