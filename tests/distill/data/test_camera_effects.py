"""Effects of camera and weather: each changes the image, none the order of the hues."""

from __future__ import annotations

from dataclasses import fields

import cv2
import numpy as np
import pytest

from distill.data.augment import generator
from distill.data.camera_effects import CameraEffects, through_camera

EFFECTS = [field.name for field in fields(CameraEffects)]
LAMPS = {"red": (40, 40, 230), "yellow": (40, 190, 230), "green": (120, 220, 40)}


def street() -> np.ndarray:
    """A grey image with a red, a yellow and a green square."""
    image = np.full((96, 96, 3), 90, np.uint8)
    for i, colour in enumerate(LAMPS.values()):
        image[30:60, 5 + 30 * i : 30 + 30 * i] = colour
    return image


def one(effect: str) -> CameraEffects:
    return CameraEffects(**{effect: 1.0})


@pytest.mark.parametrize("effect", EFFECTS)
def test_each_effect_changes_a_copy(effect: str) -> None:
    image = street()
    seen = through_camera(image, one(effect), generator(0, 0, 0))
    assert seen.shape == image.shape
    assert seen.dtype == np.uint8
    assert not np.array_equal(seen, image)
    assert np.array_equal(image, street())


@pytest.mark.parametrize("effect", EFFECTS)
def test_lamps_keep_their_colour(effect: str) -> None:
    for seed in range(30):
        seen = through_camera(street(), one(effect), generator(0, 0, seed))
        hues = [
            float(
                cv2.cvtColor(
                    seen[36:54, 11 + 30 * i : 24 + 30 * i].mean((0, 1), keepdims=True).astype(np.uint8),
                    cv2.COLOR_BGR2HSV,
                )[0, 0, 0]
            )
            for i in range(3)
        ]
        red, yellow, green = ((hue + 15) % 180 - 15 for hue in hues)
        assert red < 12 < yellow < 42 < green < 100, (seed, hues)


def test_the_same_generator_gives_the_same_image() -> None:
    every = CameraEffects(**dict.fromkeys(EFFECTS, 0.5))
    first, second = (through_camera(street(), every, generator(3, 2, 1)) for _ in range(2))
    assert np.array_equal(first, second)


def test_no_effect_is_the_default() -> None:
    assert not CameraEffects().any
    assert all(one(effect).any for effect in EFFECTS)
