"""Crops of signal heads: upright, one size. Training and inference share this module."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

CROP_HW = (40, 20)  # pixels; a head of three lamps is about 2.5 times as high as wide
MARGIN = 0.12  # of the box on each side: a detector's box is rarely exact
TURNED = 1.15  # a box wider than this many times its height is a horizontal head


def crop_heads(image_bgr: NDArray[np.uint8], xyxy: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Cut out signal heads.

    A horizontal head is turned clockwise, so that its left lamp is at the top: red, in most countries. The
    pixels around a box fill the crop, so that nothing is stretched.

    Args:
        image_bgr: uint8 ``[H, W, 3]``.
        xyxy: Boxes around the heads in its pixels; float32 ``[N, 4]``. They may reach beyond the image.

    Returns:
        uint8 ``[N, 40, 20, 3]`` BGR.
    """
    crops = np.empty((len(xyxy), *CROP_HW, 3), np.uint8)
    for crop, box in zip(crops, xyxy, strict=True):
        crop[:] = _crop(image_bgr, box)
    return crops


def _crop(image: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    x0, y0, x1, y1 = (float(side) for side in box)
    width, height = max(x1 - x0, 1.0), max(y1 - y0, 1.0)
    turned = width > TURNED * height
    short, long = (height, width) if turned else (width, height)
    # The smallest region of the crop's shape that holds the box and its margin.
    ratio = CROP_HW[0] / CROP_HW[1]
    long = (1 + 2 * MARGIN) * max(long, short * ratio)
    region = (long, long / ratio) if turned else (long / ratio, long)
    patch = _region(image, ((x0 + x1) / 2, (y0 + y1) / 2), region)
    if turned:
        patch = cv2.rotate(patch, cv2.ROTATE_90_CLOCKWISE)
    shrinks = patch.shape[0] > CROP_HW[0]
    size = (CROP_HW[1], CROP_HW[0])
    return np.asarray(
        cv2.resize(patch, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8
    )


def _region(
    image: NDArray[np.uint8], centre: tuple[float, float], size: tuple[float, float]
) -> NDArray[np.uint8]:
    """The pixels around ``centre``, x and y, ``size`` wide and high; edge pixels repeat beyond the image."""
    height, width = image.shape[:2]
    left, top = (round(middle - side / 2) for middle, side in zip(centre, size, strict=True))
    right, bottom = left + max(round(size[0]), 1), top + max(round(size[1]), 1)
    # At least one pixel of the image is taken, wherever the box lies.
    inside_x = np.clip([left, right], [0, 1], [width - 1, width])
    inside_y = np.clip([top, bottom], [0, 1], [height - 1, height])
    part = image[inside_y[0] : inside_y[1], inside_x[0] : inside_x[1]]
    border = (
        max(int(inside_y[0]) - top, 0),
        max(bottom - int(inside_y[1]), 0),
        max(int(inside_x[0]) - left, 0),
        max(right - int(inside_x[1]), 0),
    )
    if any(border):
        part = cv2.copyMakeBorder(part, *border, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(part, np.uint8)
