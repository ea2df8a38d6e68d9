"""Turned and mirrored images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

#: By the number that GStreamer's ``flip-method`` of nvvidconv has.
_FLIPS: dict[int, Callable[[Any], Any]] = {
    1: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
    2: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    4: lambda image: cv2.flip(image, 1),
    5: lambda image: cv2.flip(cv2.transpose(image), -1),
    6: lambda image: cv2.flip(image, 0),
    7: cv2.transpose,
}
FLIP_METHODS = range(8)
_OF_DEGREES = {0: 0, 90: 1, 180: 2, 270: 3}


def flipped(image_bgr: NDArray[np.uint8], method: int) -> NDArray[np.uint8]:
    """An image after a ``flip-method``.

    Args:
        image_bgr: uint8 ``[H, W, 3]``.
        method: 0 as it is, 1 turned left by 90 degrees, 2 by 180 degrees, 3 turned right by 90 degrees,
            4 mirrored left to right, 5 along the diagonal from the upper right, 6 top to bottom, 7 along the
            other diagonal.
    """
    return image_bgr if method == 0 else np.asarray(_FLIPS[method](image_bgr), np.uint8)


def rotated(image_bgr: NDArray[np.uint8], degrees: int) -> NDArray[np.uint8]:
    """The image turned to the left by a multiple of 90 degrees; as it is for any other angle."""
    return flipped(image_bgr, _OF_DEGREES.get(degrees % 360, 0))
