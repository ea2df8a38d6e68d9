"""Images in which the shipped student finds a light at an input of 64 x 96."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray


def _draw_light(seed: int) -> NDArray[np.uint8]:
    """A red traffic light in front of sky and street, BGR ``[64, 96, 3]``; each seed is another image."""
    rng = np.random.default_rng(seed)
    image = np.full((64, 96, 3), (190, 170, 150), np.uint8)
    image[40:] = (80, 82, 84)
    x, y = int(rng.integers(30, 66)), int(rng.integers(6, 20))
    cv2.rectangle(image, (x - 1, y + 24), (x + 1, 63), (60, 60, 60), -1)
    cv2.rectangle(image, (x - 5, y), (x + 5, y + 24), (20, 20, 20), -1)
    for row, colour in enumerate([(40, 40, 255), (40, 40, 40), (40, 40, 40)]):
        cv2.circle(image, (x, y + 4 + 8 * row), 3, colour, -1, cv2.LINE_AA)
    return np.asarray(cv2.add(image, rng.integers(0, 10, image.shape, dtype=np.uint8)), np.uint8)


@pytest.fixture(scope="session")
def draw_light() -> Callable[[int], Any]:
    """``_draw_light``."""
    return _draw_light
