"""Cached images have the pixels that the runtime's letterbox puts inside its border."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.data.scaled_images import decode
from edgestill.spec import ModelSpec
from runtime.letterbox import Letterbox, letterbox

SIDES = st.integers(1, 260)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@settings(deadline=None, max_examples=80)
@given(st.tuples(SIDES, SIDES), st.sampled_from([(64, 96), (96, 96), (96, 64)]), st.integers(0, 2**32 - 1))
def test_the_border_around_a_cached_image_makes_the_input_of_the_device(
    folder: Path, source_hw: tuple[int, int], input_hw: tuple[int, int], seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*source_hw, 3), np.uint8)
    cv2.imwrite(str(folder / "image.png"), image)
    spec = ModelSpec(name="x", input_hw=input_hw, classes=("a",))
    wanted, fit = letterbox(image, spec)

    cached = decode(folder / "image.png", spec)

    assert cached.source_hw == source_hw
    height, width = cached.image_bgr.shape[:2]
    left, top = (int(pad) for pad in fit.pad_xy)
    padded = np.full((*input_hw, 3), spec.pad_value, np.uint8)
    padded[top : top + height, left : left + width] = cached.image_bgr
    np.testing.assert_array_equal(padded, wanted)
    # Validation letterboxes the cached image again: that must scale nothing and give the same border.
    np.testing.assert_array_equal(letterbox(cached.image_bgr, spec)[0], wanted)
    again = Letterbox.fit((height, width), input_hw)
    assert (again.scale, again.pad_xy) == (1.0, fit.pad_xy)
