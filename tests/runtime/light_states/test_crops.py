"""Crops of signal heads: upright, unstretched, whole beyond the edge of the image."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.light_states.crops import CROP_HW, crop_heads

RED, GREEN = (0, 0, 255), (0, 255, 0)


def head(horizontal: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A grey image with a dark head of 20 x 50 pixels, red at the top (or left), green at the bottom."""
    image = np.full((200, 300, 3), 128, np.uint8)
    image[60:110, 100:120] = 20
    image[62:76, 103:117] = RED
    image[94:108, 103:117] = GREEN
    box = np.array([100, 60, 120, 110], np.float32)
    if horizontal:  # the left of the turned image is the top of this one
        image = np.ascontiguousarray(image.transpose(1, 0, 2))
        box = box[[1, 0, 3, 2]]
    return image, box


@pytest.mark.parametrize("horizontal", [False, True])
def test_red_is_at_the_top_of_a_crop(horizontal: bool) -> None:
    image, box = head(horizontal)
    crop = crop_heads(image, box[None])[0]
    assert crop.shape == (*CROP_HW, 3)
    red, green = (np.argwhere(crop[..., channel] > 200)[:, 0] for channel in (2, 1))
    assert red.max() < CROP_HW[0] / 2 < green.min()


def test_the_shape_of_the_head_is_kept() -> None:
    image, box = head()
    dark = crop_heads(image, box[None])[0].max(axis=2) < 100
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    ratio = (rows[-1] - rows[0] + 1) / (columns[-1] - columns[0] + 1)
    assert ratio == pytest.approx(50 / 20, rel=0.15)


@pytest.mark.parametrize(
    "box",
    [
        (-10, -10, 8, 30),  # partly outside
        (290, 190, 320, 260),
        (400, 300, 420, 350),  # outside
        (5, 5, 5, 5),  # without area
        (0, 0, 300, 200),
    ],
)
def test_any_box_gives_a_crop(box: tuple[float, ...]) -> None:
    image, _ = head()
    crops = crop_heads(image, np.array([box], np.float32))
    assert crops.shape == (1, *CROP_HW, 3)


def test_no_boxes_give_no_crops() -> None:
    image, _ = head()
    assert crop_heads(image, np.zeros((0, 4), np.float32)).shape == (0, *CROP_HW, 3)
