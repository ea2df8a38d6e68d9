"""Labels of the signal heads that are visible in the finished image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distill.datasets.synth.canvas import Canvas, LabelCandidate

MIN_SEEN = 0.3  # share of the head that must be visible
MIN_LAMP_SEEN = 0.45  # share of its lit lamp: without it the state cannot be read
MIN_SIDE_PX = 5.0  # longer side of the box in an image 640 wide; annotators label nothing smaller
EDGE_LOSS = 0.97  # below it the box encloses the visible part instead of the outline


Corners = tuple[float, float, float, float]


def visible(canvas: Canvas) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The labels of a finished canvas.

    A head that is hidden, or whose lit lamp is hidden, or that is too small gets no label. The box of a head
    that is partly hidden encloses the visible part.

    Returns:
        Class ids int64 ``[N]`` and corners float32 ``[N, 4]`` px, inside the image.
    """
    found = visible_heads(canvas)
    class_id = np.array([head.class_id for head, _ in found], np.int64)
    xyxy = np.array([box for _, box in found], np.float32).reshape(-1, 4)
    return class_id, xyxy


def visible_heads(canvas: Canvas) -> list[tuple[LabelCandidate, Corners]]:
    """The heads that ``visible`` labels, with the corners of their boxes."""
    return [(head, box) for head in canvas.label_candidates if (box := _box(canvas, head)) is not None]


def _box(canvas: Canvas, candidate: LabelCandidate) -> Corners | None:
    visible_part = canvas.visibility_masks[candidate.mask_index]
    seen = visible_part.mask > 127
    count = int(np.count_nonzero(seen))
    if count < MIN_SEEN * candidate.area or candidate.area == 0:
        return None
    if candidate.lamp_mask_index is not None:
        lamp = int(np.count_nonzero(canvas.visibility_masks[candidate.lamp_mask_index].mask))
        if lamp < MIN_LAMP_SEEN * candidate.lamp_area:
            return None
    x0, y0, x1, y1 = candidate.box
    if count < EDGE_LOSS * candidate.area:
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        x0, x1 = max(x0, visible_part.x + float(columns[0])), min(x1, visible_part.x + float(columns[-1]) + 1)
        y0, y1 = max(y0, visible_part.y + float(rows[0])), min(y1, visible_part.y + float(rows[-1]) + 1)
    x0, y0 = max(x0, 0.0), max(y0, 0.0)
    x1, y1 = min(x1, float(canvas.width)), min(y1, float(canvas.height))
    unit = max(canvas.width, canvas.height * 640 / 384) / 640
    if x1 - x0 <= 1 or y1 - y0 <= 1 or max(x1 - x0, y1 - y0) < MIN_SIDE_PX * unit:
        return None
    return x0, y0, x1, y1
