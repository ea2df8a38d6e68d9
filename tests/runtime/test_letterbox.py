"""The one pre-processing, by its properties."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgestill.spec import ModelSpec
from runtime.letterbox import InputBuffer, Letterbox, _resize, letterbox, prepare, to_tensor

calm = settings(deadline=None, max_examples=60)
sides = st.integers(1, 4000)
input_sides = st.sampled_from([320, 384, 640])
WIDE = ModelSpec(name="x", input_hw=(64, 128), classes=("a",))


@calm
@given(st.tuples(sides, sides), st.tuples(input_sides, input_sides))
def test_boxes_come_back_where_they_were(source_hw: tuple[int, int], input_hw: tuple[int, int]) -> None:
    height, width = source_hw
    box = np.array([[0, 0, width, height], [width / 3, height / 4, width / 2, height / 2]], np.float32)
    fit = Letterbox.fit(source_hw, input_hw)
    # float32 rounding, which a strong reduction magnifies on the way back
    tolerance = 1e-4 * max(input_hw) / fit.scale
    np.testing.assert_allclose(fit.to_source(fit.to_input(box)), box, atol=tolerance)


@calm
@given(st.tuples(sides, sides), st.tuples(input_sides, input_sides))
def test_the_image_fits_and_touches_two_edges(source_hw: tuple[int, int], input_hw: tuple[int, int]) -> None:
    fit = Letterbox.fit(source_hw, input_hw)
    scaled = np.array(source_hw) * fit.scale
    assert (scaled <= np.array(input_hw) + 1e-6).all()
    assert np.isclose(scaled, input_hw).any()


@calm
@given(st.tuples(sides, sides), st.tuples(input_sides, input_sides))
def test_the_border_is_centred_to_the_pixel(source_hw: tuple[int, int], input_hw: tuple[int, int]) -> None:
    fit = Letterbox.fit(source_hw, input_hw)
    for side, free, before in zip(source_hw, input_hw, reversed(fit.pad_xy), strict=True):
        after = free - max(1, round(side * fit.scale)) - before
        assert 0 <= after - before <= 1


@calm
@given(st.tuples(st.integers(1, 300), st.integers(1, 300)))
def test_the_padded_image_has_the_input_size(source_hw: tuple[int, int]) -> None:
    padded, _ = letterbox(np.zeros((*source_hw, 3), np.uint8), WIDE)
    assert padded.shape == (64, 128, 3)


def test_a_known_border_is_that_of_the_original() -> None:
    # bus.jpg, 810 x 1080, into 640 x 640: YOLOv5 pads 80 pixels left and right
    fit = Letterbox.fit((1080, 810), (640, 640))
    assert fit.pad_xy == (80, 0)
    assert fit.scale == pytest.approx(0.592593, abs=1e-6)


def test_an_odd_border_is_wider_at_the_far_side() -> None:
    assert Letterbox.fit((63, 128), (64, 128)).pad_xy == (0, 0)
    assert Letterbox.fit((61, 128), (64, 128)).pad_xy == (0, 1)


@calm
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.integers(0, 2**32 - 1),
)
def test_an_image_is_scaled_as_by_bilinear_interpolation(
    size_hw: tuple[int, int], divisors: tuple[int, int], seed: int
) -> None:
    """Bit by bit, where all samples lie on pixels and where they do not."""
    source_hw = (size_hw[0] * divisors[0], size_hw[1] * divisors[1])
    image = np.random.default_rng(seed).integers(0, 256, (*source_hw, 3), np.uint8)
    plain = cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(_resize(image, size_hw), plain)


def test_a_third_of_full_hd_is_every_third_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    spec = replace(WIDE, input_hw=(640, 640))
    padded, fit = letterbox(image, spec)
    assert fit.pad_xy == (0, 140)
    assert np.array_equal(padded[140:500], image[1::3, 1::3])
    assert np.array_equal(padded[140:500], cv2.resize(image, (640, 360), interpolation=cv2.INTER_LINEAR))


def test_the_border_is_grey_and_the_image_is_not_touched() -> None:
    padded, fit = letterbox(np.full((64, 64, 3), 200, np.uint8), WIDE)
    left = int(fit.pad_xy[0])
    assert (padded[:, :left] == 114).all()
    assert (padded[:, left : left + 64] == 200).all()
    assert (padded[:, left + 64 :] == 114).all()


def test_a_small_image_is_enlarged() -> None:
    assert Letterbox.fit((32, 64), (64, 128)).scale == 2


def test_an_image_of_the_input_size_passes_unchanged() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 128, 3), dtype=np.uint8)
    np.testing.assert_array_equal(letterbox(image, WIDE)[0], image)


def test_the_tensor_is_rgb_planes_from_0_to_1() -> None:
    image = np.zeros((64, 128, 3), np.uint8)
    image[:] = (0, 51, 255)  # blue, green, red
    tensor = to_tensor(image, WIDE)
    assert tensor.shape == (1, 3, 64, 128)
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[0, :, 5, 7], [1, 0.2, 0], atol=1e-6)


def test_a_model_may_want_bgr_and_another_scale() -> None:
    image = np.zeros((64, 128, 3), np.uint8)
    image[:] = (0, 51, 255)
    tensor = to_tensor(image, replace(WIDE, pixel_order="bgr", scale=1.0))
    np.testing.assert_allclose(tensor[0, :, 5, 7], [0, 51, 255])


def test_prepare_is_both_steps() -> None:
    image = np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8)
    padded, fit = letterbox(image, WIDE)
    tensor, same_fit = prepare(image, WIDE)
    assert same_fit == fit
    np.testing.assert_array_equal(tensor, to_tensor(padded, WIDE))


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_a_file_that_scales_itself_is_fed_the_image_as_it_is(order: Any) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*WIDE.input_hw, 3), np.uint8)
    whole = to_tensor(image, replace(WIDE, pixels="uint8", pixel_order=order))
    assert (whole.dtype, whole.shape) == (np.uint8, (1, *WIDE.input_hw, 3))
    assert whole.flags.c_contiguous
    planes = to_tensor(image, replace(WIDE, pixel_order=order))
    scaled = whole.astype(np.float32) * np.float32(WIDE.scale)
    np.testing.assert_array_equal(scaled.transpose(0, 3, 1, 2), planes)


def pictures(*sizes: tuple[int, int]) -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*hw, 3), np.uint8) for hw in sizes]


@pytest.mark.parametrize("changes", [{}, {"pixel_order": "bgr", "scale": 1.0}, {"pixels": "uint8"}])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_memory_that_is_used_again_gives_what_new_memory_does(changes: dict[str, Any], dtype: str) -> None:
    spec = replace(WIDE, **changes)
    dtype = "uint8" if spec.pixels == "uint8" else dtype
    buffer = InputBuffer(spec, dtype)
    # wide, high, smaller, larger, with its size already, and wide again: borders move
    images = pictures((20, 300), (300, 20), (31, 33), (64, 128), (600, 700), (20, 300))
    for start in (0, 1, 2, 3):
        taken = images[start : start + 3]
        batch, fits = buffer.fill(taken, 4)
        assert (batch.shape[0], batch.dtype, batch.flags.c_contiguous) == (4, dtype, True)
        for row, (image, fit) in enumerate(zip(taken, fits, strict=True)):
            tensor, right_fit = prepare(image, spec)
            np.testing.assert_array_equal(batch[row : row + 1], tensor.astype(dtype))
            assert fit == right_fit
        np.testing.assert_array_equal(batch[3], batch[2])


def test_no_large_array_is_allocated_once_the_memory_is_there() -> None:
    spec = replace(WIDE, input_hw=(384, 640))
    buffer = InputBuffer(spec, "float32")
    (image,) = pictures((720, 1280))
    buffer.fill([image], 1)
    assert allocated(lambda: buffer.fill([image], 1)) < 100_000  # bytes; a plane of the input has 245,760
    assert allocated(lambda: prepare(image, spec)) > 3_000_000


def allocated(call: Callable[[], Any]) -> int:
    """The most bytes that a call holds in Python's and NumPy's memory."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
