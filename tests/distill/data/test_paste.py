"""Copy-paste and quarter turns: labels stay on their objects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from distill.data.augment import Augment, compose, generator
from distill.data.paste import Paste, paste_objects
from distill.data.sample import Sample, quarter_turn

PLAIN = Augment(mosaic=0, focus=0, zoom=(1, 1), unscaled=1, flip=0, hue=0, saturation=0, value=0)


def dark(hw: tuple[int, int] = (160, 160)) -> Sample:
    """A dark image without objects."""
    return Sample(np.full((*hw, 3), 40, np.uint8), np.zeros(0, np.int64), np.zeros((0, 4), np.float32))


def lamp() -> Sample:
    """A dark image with one bright object of 16 x 40 pixels, of class 2."""
    sample = dark()
    sample.image_bgr[50:90, 70:86] = 250
    return Sample(sample.image_bgr, np.array([2]), np.array([[70, 50, 86, 90]], np.float32))


def bright(sample: Sample) -> list[float]:
    """Corners of the bright pixels of a sample."""
    y, x = np.nonzero(sample.image_bgr[..., 0] > 145)
    return [float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)]


@pytest.mark.parametrize("clockwise", [True, False])
def test_a_quarter_turn_keeps_the_box_on_its_object(clockwise: bool) -> None:
    turned = quarter_turn(lamp(), clockwise=clockwise)
    assert turned.xyxy[0].tolist() == bright(turned)
    assert turned.xyxy[0, 2] - turned.xyxy[0, 0] == 40


def test_four_quarter_turns_are_none() -> None:
    turned = lamp()
    for _ in range(4):
        turned = quarter_turn(turned, clockwise=True)
    assert np.array_equal(turned.image_bgr, lamp().image_bgr)
    assert np.array_equal(turned.xyxy, lamp().xyxy)


def test_a_turned_window_has_the_size_of_the_others() -> None:
    always = replace(PLAIN, turn=1.0)
    sample = compose([lamp()], 0, (96, 160), always, rng=generator(0, 0, 0), pad=114)
    assert sample.image_bgr.shape == (96, 160, 3)
    assert sample.xyxy.size
    assert sample.xyxy[0, 2] - sample.xyxy[0, 0] > sample.xyxy[0, 3] - sample.xyxy[0, 1]


@pytest.mark.parametrize("turn", [0.0, 1.0])
def test_a_pasted_object_brings_its_label(turn: float) -> None:
    paste = Paste(share=1, most=1, turn=turn, side_px=(30, 50))
    for seed in range(20):
        sample = paste_objects(dark(), [lamp()], range(1), paste, generator(0, 0, seed))
        assert sample.class_id.tolist() == [2]
        assert sample.xyxy[0].tolist() == pytest.approx(bright(sample), abs=2)
        wide = sample.xyxy[0, 2] - sample.xyxy[0, 0] > sample.xyxy[0, 3] - sample.xyxy[0, 1]
        assert wide == bool(turn)


def test_objects_are_not_pasted_over_objects() -> None:
    paste = Paste(share=1, most=3, side_px=(30, 50))
    several = 0
    for seed in range(40):
        boxes = paste_objects(lamp(), [lamp()], range(1), paste, generator(0, 0, seed)).xyxy
        several += len(boxes) > 2
        for i, a in enumerate(boxes):
            for b in boxes[i + 1 :]:
                assert a[0] > b[2] or b[0] > a[2] or a[1] > b[3] or b[1] > a[3]
    assert several


def test_the_image_that_is_pasted_into_is_not_changed() -> None:
    target = dark()
    paste_objects(target, [lamp()], range(1), Paste(share=1), generator(0, 0, 1))
    assert (target.image_bgr == 40).all()


def test_small_objects_and_images_without_objects_give_nothing() -> None:
    for donor, least in ((lamp(), 17.0), (dark(), 8.0)):
        paste = Paste(share=1, min_px=least)
        assert not len(paste_objects(dark(), [donor], range(1), paste, generator(0, 0, 0)).xyxy)


def test_effects_that_are_off_draw_no_random_numbers() -> None:
    """Runs of recipes without these keys repeat to the bit."""
    rng, plain = generator(0, 0, 5), generator(0, 0, 5)
    compose([lamp()], 0, (96, 96), PLAIN, rng=rng, pad=114)
    # Window, flip and colour: what a sample drew before the keys existed.
    plain.random(), plain.random(), plain.random(), plain.uniform(), plain.uniform(), plain.random()
    plain.uniform(), plain.uniform(), plain.uniform()
    assert rng.random() == plain.random()
