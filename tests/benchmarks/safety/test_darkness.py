"""Luma of images and of the surroundings of lights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.safety.darkness import LEAST_PX, luma, luma_around


@pytest.mark.parametrize(
    ("bgr", "expected"), [((0, 0, 255), 76), ((0, 255, 0), 150), ((255, 0, 0), 29), ((90, 90, 90), 90)]
)
def test_luma_weighs_the_colours(bgr: tuple[int, int, int], expected: int) -> None:
    assert luma(np.full((4, 4, 3), bgr, np.uint8)).mean() == pytest.approx(expected, abs=0.5)


def test_the_light_itself_does_not_count() -> None:
    grey = np.full((100, 100), 40, np.uint8)
    grey[40:60, 45:55] = 255
    assert luma_around(grey, np.array([[45, 40, 55, 60]], np.float32)).tolist() == [40.0]


def test_what_is_farther_than_the_box_is_large_does_not_count() -> None:
    grey = np.full((100, 100), 200, np.uint8)
    grey[20:80, 35:65] = 30
    assert luma_around(grey, np.array([[45, 40, 55, 60]], np.float32)).tolist() == [30.0]


def test_a_tiny_light_has_surroundings_of_some_pixels() -> None:
    grey = np.full((100, 100), 200, np.uint8)
    grey[50 - LEAST_PX : 52 + LEAST_PX, 50 - LEAST_PX : 52 + LEAST_PX] = 10
    assert luma_around(grey, np.array([[50, 50, 52, 52]], np.float32)).tolist() == [10.0]


def test_a_light_as_large_as_the_image_has_the_image_around_it() -> None:
    grey = np.full((10, 10), 7, np.uint8)
    assert luma_around(grey, np.array([[0, 0, 10, 10]], np.float32)).tolist() == [7.0]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-40, 140, width=32), min_size=4, max_size=4))
def test_any_box_has_a_luma_of_the_image(corners: list[float]) -> None:
    rng = np.random.default_rng(1)
    grey = rng.integers(20, 90, (60, 100)).astype(np.uint8)
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    (found,) = luma_around(grey, np.array([[x0, y0, x1, y1]], np.float32))
    assert 20 <= found < 90
