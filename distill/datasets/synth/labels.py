"""Labels from what was painted and is still seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distill.datasets.synth.canvas import Canvas, Mark

MIN_SEEN = 0.3  # share of the head that must be seen
MIN_LAMP_SEEN = 0.45  # share of its lit lamp: without it nobody could tell the state
MIN_SIDE_PX = 5.0  # longer side of the box in a picture 640 wide; people label nothing smaller
EDGE_LOSS = 0.97  # below it the box follows what is seen and not the outline


def visible(canvas: Canvas) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The labels of a finished canvas.

    A head that is hidden, or whose lit lamp is hidden, or that is too small gets no label. The box of a head
    that is seen in part is the box of that part.

    Returns:
        Class ids int64 ``[N]`` and corners float32 ``[N, 4]`` px, inside the picture.
    """
    found = [(mark.class_id, box) for mark in canvas.marks if (box := _box(canvas, mark)) is not None]
    class_id = np.array([c for c, _ in found], np.int64)
    xyxy = np.array([b for _, b in found], np.float32).reshape(-1, 4)
    return class_id, xyxy


def _box(canvas: Canvas, mark: Mark) -> tuple[float, float, float, float] | None:
    track = canvas.tracks[mark.track]
    seen = track.mask > 127
    count = int(np.count_nonzero(seen))
    if count < MIN_SEEN * mark.area or mark.area == 0:
        return None
    if mark.lamp_track is not None:
        lamp = int(np.count_nonzero(canvas.tracks[mark.lamp_track].mask))
        if lamp < MIN_LAMP_SEEN * mark.lamp_area:
            return None
    x0, y0, x1, y1 = mark.box
    if count < EDGE_LOSS * mark.area:
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        x0, x1 = max(x0, track.x + float(columns[0])), min(x1, track.x + float(columns[-1]) + 1)
        y0, y1 = max(y0, track.y + float(rows[0])), min(y1, track.y + float(rows[-1]) + 1)
    x0, y0 = max(x0, 0.0), max(y0, 0.0)
    x1, y1 = min(x1, float(canvas.width)), min(y1, float(canvas.height))
    unit = max(canvas.width, canvas.height * 640 / 384) / 640
    if x1 - x0 <= 1 or y1 - y0 <= 1 or max(x1 - x0, y1 - y0) < MIN_SIDE_PX * unit:
        return None
    return x0, y0, x1, y1
