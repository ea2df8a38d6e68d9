"""A training sample: an image and its labelled objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """An image and its labelled objects.

    Attributes:
        image_bgr: uint8 ``[H, W, 3]``.
        class_id: int64 ``[N]``.
        xyxy: Corners in pixels of the image; float32 ``[N, 4]``.
    """

    image_bgr: Image
    class_id: NDArray[np.int64]
    xyxy: Boxes


def quarter_turn(sample: Sample, *, clockwise: bool) -> Sample:
    """The sample turned by 90 degrees, labels included."""
    height, width = sample.image_bgr.shape[:2]
    x0, y0, x1, y1 = sample.xyxy.T
    corners = (height - y1, x0, height - y0, x1) if clockwise else (y0, width - x1, y1, width - x0)
    image = np.rot90(sample.image_bgr, -1 if clockwise else 1)
    return Sample(np.ascontiguousarray(image), sample.class_id, np.stack(corners, axis=1).astype(np.float32))
