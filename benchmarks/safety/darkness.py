"""How dark it is: the mean luma of an image, and of what surrounds a light.

Luma is that of ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B of the encoded values, 0 (black) to 255. The
surroundings of a light are the box grown by its own width and height on each side, by ``LEAST_PX`` at least,
without the box itself. The two differ: a light under a bridge by day is in a bright image and in dark
surroundings.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

LEAST_PX = 8
#: Names and the lowest luma of each step. Of twelve images of the project's data with lumas of 27 to 100,
#: those of streets at night had up to 70; underexposed ones by day are as dark, so a step is no time of day.
LUMA_STEPS: Mapping[str, float] = {
    "dark, below 70": 0.0,
    "dim, 70 to 100": 70.0,
    "bright, from 100 on": 100.0,
}


def luma(image_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma of each pixel; uint8 ``[H, W, 3]`` to ``[H, W]``."""
    return np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), np.uint8)


def luma_around(grey: NDArray[np.uint8], xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean luma of the surroundings of each box.

    Args:
        grey: From ``luma``.
        xyxy: Corners, pixels of the image; float32 ``[N, 4]``.

    Returns:
        float64 ``[N]``, 0 to 255; that of the whole image for a box that leaves no surroundings.
    """
    return np.array([_around(grey, box) for box in xyxy.astype(np.float64)], np.float64)


def _around(grey: NDArray[np.uint8], box: NDArray[np.float64]) -> float:
    grow = np.maximum(box[2:] - box[:2], LEAST_PX)
    outer, inner = (
        _clipped(np.concatenate((box[:2] - by, box[2:] + by)), grey.shape) for by in (grow, np.zeros(2))
    )
    pixels = _count(outer) - _count(inner)
    if not pixels:
        return float(grey.mean())
    return (_sum(grey, outer) - _sum(grey, inner)) / pixels


def _clipped(box: NDArray[np.float64], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Whole pixels of a box inside the image; x0, y0, x1, y1."""
    low, high = np.floor(box[:2]), np.ceil(box[2:])
    x0, y0 = np.clip(low, 0, shape[1::-1]).astype(int)
    x1, y1 = np.clip(high, 0, shape[1::-1]).astype(int)
    return int(x0), int(y0), max(int(x0), int(x1)), max(int(y0), int(y1))


def _count(box: tuple[int, int, int, int]) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _sum(grey: NDArray[np.uint8], box: tuple[int, int, int, int]) -> float:
    return float(grey[box[1] : box[3], box[0] : box[2]].sum(dtype=np.int64))
