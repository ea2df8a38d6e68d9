"""Training samples: windows at deployment scale, boxes that stay on their objects, repeatable chance."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from distill.data.augment import Augment, compose, cut, generator
from distill.data.sample import Sample

PLAIN = Augment(
    mosaic=0, focus=0, zoom=(1, 1), unscaled=1, flip=0, hue=0, saturation=0, value=0, visible=0.7, min_px=3
)
WINDOW = (96, 128)


def picture(box: tuple[int, int, int, int] = (150, 60, 170, 100), hw: tuple[int, int] = (180, 320)) -> Sample:
    """A grey image with one white box, which is its object."""
    image = np.full((*hw, 3), 60, np.uint8)
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = 255
    return Sample(image, np.array([2]), np.array([box], np.float32))


def white(sample: Sample) -> list[float]:
    """Corners of what is white in a sample."""
    y, x = np.nonzero(sample.image_bgr[..., 0] > 157)
    return [float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)]


def visible_samples(augment: Augment, count: int = 40) -> list[Sample]:
    """Windows that hold the whole object."""
    made = [cut(picture(), WINDOW, augment, generator(0, 0, i), 114) for i in range(count)]
    height, width = WINDOW
    return [
        s
        for s in made
        if len(s.xyxy) and s.xyxy.min() > 1 and s.xyxy[0, 2] < width - 1 and s.xyxy[0, 3] < height - 1
    ]


def test_an_unscaled_window_is_a_part_of_the_image() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (180, 320, 3), dtype=np.uint8)
    source = Sample(noise, np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
    sample = cut(source, WINDOW, PLAIN, generator(0, 0, 3), 114)
    views = np.lib.stride_tricks.sliding_window_view(source.image_bgr, (*WINDOW, 3))
    first = sample.image_bgr[0, 0]
    candidates = np.argwhere((views[..., 0, 0, 0, :] == first).all(-1))
    assert any(np.array_equal(views[tuple(c)].reshape(*WINDOW, 3), sample.image_bgr) for c in candidates)


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("zoom", [0.6, 1.0, 1.6])
def test_the_box_stays_on_its_object(zoom: float, flip: float) -> None:
    augment = replace(PLAIN, focus=1, zoom=(zoom, zoom), unscaled=0, flip=flip)
    samples = visible_samples(augment)
    assert samples
    for sample in samples:
        assert white(sample) == pytest.approx(sample.xyxy[0].tolist(), abs=0.8)  # edges fall between pixels


def test_a_zoomed_window_shows_the_object_at_that_scale() -> None:
    sample = visible_samples(replace(PLAIN, focus=1, zoom=(1.5, 1.5), unscaled=0))[0]
    assert (sample.xyxy[0, 2:] - sample.xyxy[0, :2]).tolist() == pytest.approx([30, 60])


def test_a_focused_window_always_holds_the_object() -> None:
    focused = replace(PLAIN, focus=1)
    for i in range(50):
        sample = cut(picture((3, 170, 9, 179)), WINDOW, focused, generator(0, 0, i), 114)
        assert (sample.xyxy[0, 2:] - sample.xyxy[0, :2]).tolist() == [6, 9]


def test_a_window_without_focus_often_misses_the_object() -> None:
    found = [len(cut(picture(), WINDOW, PLAIN, generator(0, 0, i), 114).xyxy) for i in range(50)]
    assert 0 < sum(found) < 50


def test_a_window_larger_than_its_image_is_filled_with_grey() -> None:
    small = picture((10, 10, 20, 20), hw=(40, 60))
    sample = cut(small, WINDOW, PLAIN, generator(0, 0, 0), 114)
    assert (sample.image_bgr == 114).sum() == 3 * (96 * 128 - 40 * 60)
    assert white(sample) == sample.xyxy[0].tolist()


@pytest.mark.parametrize(
    ("left", "kept"),
    [pytest.param(0.75, 1, id="enough-left"), pytest.param(0.65, 0, id="too-little-left")],
)
def test_a_box_counts_while_enough_of_it_is_left(left: float, kept: int) -> None:
    # The image is as wide as the window, so the window cannot move and the box leaves it at the right.
    width = 20
    x0 = WINDOW[1] - round(left * width)
    source = Sample(
        np.zeros((*WINDOW, 3), np.uint8), np.array([0]), np.array([[x0, 30, x0 + width, 60]], np.float32)
    )
    assert len(cut(source, WINDOW, PLAIN, generator(0, 0, 0), 114).xyxy) == kept


def test_what_is_left_of_a_dropped_box_is_painted_over() -> None:
    source = picture((WINDOW[1] - 5, 30, WINDOW[1], 60), hw=WINDOW)
    source.xyxy[0, 2] += 15  # three quarters of the object are outside
    sample = cut(source, WINDOW, PLAIN, generator(0, 0, 0), 114)
    assert (sample.image_bgr[30:60, -5:] == 114).all()
    assert (sample.image_bgr == 114).sum() == 3 * 30 * 5


@pytest.mark.parametrize(("side", "kept"), [(2, 0), (3, 1)])
def test_a_box_whose_longer_side_is_below_the_limit_is_dropped(side: int, kept: int) -> None:
    source = picture((50, 50, 52, 50 + side), hw=WINDOW)
    assert len(cut(source, WINDOW, PLAIN, generator(0, 0, 0), 114).xyxy) == kept


def test_boxes_end_at_the_border_of_the_sample() -> None:
    samples = [compose([picture()], 0, WINDOW, Augment(), rng=generator(0, 0, i), pad=114) for i in range(60)]
    boxes = np.concatenate([s.xyxy for s in samples])
    assert boxes.min() >= 0
    assert (boxes[:, [0, 2]] <= WINDOW[1]).all()
    assert (boxes[:, [1, 3]] <= WINDOW[0]).all()


def test_a_mosaic_shows_four_images() -> None:
    images = [picture() for _ in range(9)]
    for level, image in enumerate(images):
        image.image_bgr[:] = 10 + 20 * level
    augment = replace(PLAIN, mosaic=1)
    sample = compose(images, 4, WINDOW, augment, rng=generator(0, 0, 5), pad=114)
    corners = sample.image_bgr[[0, 0, -1, -1], [0, -1, 0, -1], 0]
    assert corners[0] == 10 + 20 * 4
    assert len(set(corners.tolist())) > 2


def test_a_mosaics_boxes_stay_on_their_objects() -> None:
    augment = replace(PLAIN, mosaic=1, focus=1)
    sample = compose([picture((150, 60, 160, 70))] * 2, 0, WINDOW, augment, rng=generator(0, 0, 1), pad=114)
    assert len(sample.xyxy) == 4
    for x0, y0, x1, y1 in sample.xyxy.astype(int):
        assert (sample.image_bgr[y0:y1, x0:x1] == 255).all()


def test_the_hue_of_a_red_light_stays_red() -> None:
    source = picture(hw=WINDOW)
    source.image_bgr[:] = (0, 0, 255)
    for i in range(30):
        sample = compose([source], 0, WINDOW, replace(Augment(), mosaic=0), rng=generator(0, 0, i), pad=114)
        hue = int(cv2.cvtColor(sample.image_bgr, cv2.COLOR_BGR2HSV)[40, 60, 0])
        assert min(hue, 180 - hue) <= 2  # of 180; yellow begins at about 20


def test_the_same_numbers_make_the_same_sample() -> None:
    images = [picture(), picture((20, 20, 40, 50))]
    one, two = (compose(images, 1, WINDOW, Augment(), rng=generator(7, 3, 1), pad=114) for _ in range(2))
    np.testing.assert_array_equal(one.image_bgr, two.image_bgr)
    np.testing.assert_array_equal(one.xyxy, two.xyxy)


@pytest.mark.parametrize("other", [(8, 3, 1), (7, 4, 1), (7, 3, 2)], ids=["seed", "epoch", "index"])
def test_seed_epoch_and_index_each_change_the_chance(other: tuple[int, int, int]) -> None:
    assert generator(7, 3, 1).random() != generator(*other).random()
