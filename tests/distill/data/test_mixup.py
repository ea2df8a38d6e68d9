"""MixUp against its paper's definition, and the augmentation of the last epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.data.augment import Augment, LateAugment, compose, generator
from distill.data.loader import Batch, Batches
from distill.data.mixup import MixUp, blend
from distill.data.sample import Sample
from distill.recipe_toml import load_recipe
from edgestill.errors import UsageError
from edgestill.spec import ModelSpec

PLAIN = Augment(mosaic=0, focus=0, zoom=(1, 1), unscaled=1, flip=0, hue=0, saturation=0, value=0)
SPEC = ModelSpec(name="yolov5n", input_hw=(32, 32), classes=("red", "green"))


def noise(seed: int, hw: tuple[int, int] = (32, 32)) -> Sample:
    """Random pixels and two objects."""
    random = np.random.default_rng(seed)
    boxes = np.array([[2, 3, 12, 20], [10, 4, 30, 30]], np.float32)
    return Sample(random.integers(0, 256, (*hw, 3), np.uint8), random.integers(0, 2, 2), boxes)


def flat(levels: Sequence[int]) -> list[Sample]:
    """Images of one grey level each, with one object of a class of its own."""
    return [
        Sample(np.full((32, 32, 3), level, np.uint8), np.array([i]), np.array([[4, 4, 20, 20]], np.float32))
        for i, level in enumerate(levels)
    ]


@settings(deadline=None)  # the machine may be busy
@given(weight=st.floats(0, 1), seed=st.integers(0, 9))
def test_a_blend_is_the_weighted_mean_of_the_pixels(weight: float, seed: int) -> None:
    first, second = noise(seed), noise(seed + 100)
    wanted = weight * first.image_bgr.astype(np.float64) + (1 - weight) * second.image_bgr
    assert np.abs(blend(first, second, weight).image_bgr - wanted).max() <= 0.5 + 1e-4


def test_a_blend_has_the_objects_of_both() -> None:
    first, second = noise(0), noise(1)
    both = blend(first, second, 0.3)
    assert both.class_id.tolist() == [*first.class_id, *second.class_id]
    assert both.xyxy.tolist() == [*first.xyxy.tolist(), *second.xyxy.tolist()]
    assert (both.class_id.dtype, both.xyxy.dtype) == (first.class_id.dtype, np.float32)


def weights(alpha: float, count: int = 1000) -> np.ndarray[Any, Any]:
    """Weights of the first image, as the pixels of samples show them."""
    images = flat([0, 200])
    augment = replace(PLAIN, mixup=MixUp(share=1, alpha=alpha))
    found = []
    for i in range(count):
        sample = compose(images, 1, (32, 32), augment, rng=generator(0, 0, i), pad=114)
        if 0 in sample.class_id:  # blended with the other one
            found.append(sample.image_bgr[0, 0, 0] / 200)
    return np.array(found)


@pytest.mark.parametrize("alpha", [0.4, 1.0, 8.0, 32.0])
def test_the_weights_have_a_beta_distribution(alpha: float) -> None:
    found = weights(alpha)
    assert 400 < len(found) < 600  # the other image is drawn from both
    # mean and variance of Beta(alpha, alpha); five standard errors of the mean
    spread = 1 / (2 * np.sqrt(2 * alpha + 1))
    assert found.mean() == pytest.approx(0.5, abs=5 * spread / np.sqrt(len(found)))
    assert found.std() == pytest.approx(spread, rel=0.15)


def test_samples_are_blended_as_often_as_asked_for() -> None:
    augment = replace(PLAIN, mixup=MixUp(share=0.25))
    several = [
        len(compose(flat([0, 200]), 0, (32, 32), augment, rng=generator(0, 0, i), pad=114).xyxy)
        for i in range(800)
    ]
    assert several.count(2) == pytest.approx(200, abs=45)
    assert set(several) == {1, 2}


def test_without_mixup_older_trainings_repeat_to_the_bit() -> None:
    images = [noise(i, (64, 96)) for i in range(4)]
    samples = [
        compose(images, 1, (32, 32), augment, rng=generator(3, 1, 7), pad=114)
        for augment in (Augment(), Augment(mixup=MixUp(share=0, alpha=2)))
    ]
    assert np.array_equal(samples[0].image_bgr, samples[1].image_bgr)


def test_both_parts_of_a_blend_may_be_mosaics() -> None:
    augment = replace(PLAIN, mosaic=1, mixup=MixUp(share=1))
    several = [
        len(compose(flat(range(8)), 0, (64, 64), augment, rng=generator(0, 0, i), pad=114).xyxy)
        for i in range(20)
    ]
    assert max(several) > 4


def epochs_of(augment: Augment, late: LateAugment, *, threads: int = 2) -> list[list[Batch]]:
    images = [noise(i, (64, 96)) for i in range(8)]
    with Batches(images, SPEC, augment, batch=4, seed=0, threads=threads, late=late) as batches:
        return [list(batches.epoch(epoch)) for epoch in range(3)]


def same(some: list[Batch], others: list[Batch]) -> bool:
    return all(
        torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets)
        for a, b in zip(some, others, strict=True)
    )


def test_blends_do_not_depend_on_the_number_of_threads() -> None:
    augment = Augment(mosaic=0.5, mixup=MixUp(share=1))
    one, four = (epochs_of(augment, LateAugment(), threads=threads) for threads in (1, 4))
    assert all(map(same, one, four))


def test_the_last_epochs_vary_as_they_say_and_the_first_are_unchanged() -> None:
    before, late = Augment(mosaic=1, mixup=MixUp(share=1)), Augment(mosaic=0)
    never, switched, always = (
        epochs_of(augment, LateAugment(at=at, mosaic=0))
        for augment, at in ((before, 0), (before, 2), (late, 0))
    )
    assert [same(a, b) for a, b in zip(switched, never, strict=True)] == [True, True, False]
    assert [same(a, b) for a, b in zip(switched, always, strict=True)] == [False, False, True]


def test_a_late_table_has_the_values_of_the_first_where_it_has_none(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        "[augment]\nmosaic = 0.8\nflip = 0.1\nmixup = {share = 0.5, alpha = 8.0}\n"
        "[augment_late]\nat = 3\nmosaic = 0.0\nmixup.share = 0.0\n"
    )
    late = load_recipe(str(file)).augment_late
    assert (late.at, late.mosaic, late.flip) == (3, 0.0, 0.1)
    assert late.mixup == MixUp(share=0, alpha=8)
    assert load_recipe(str(file), ["augment.flip=0.3"]).augment_late.flip == 0.3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("augment.mixup.share=1.5", "augment.mixup.share = 1.5"),
        ("augment.mixup.alpha=0.0", "augment.mixup.alpha = 0.0"),
        ("augment_late.mosaic=0.0", "augment_late without its first epoch"),
        ("augment_late={at=1, mosaic=2.0}", "augment_late.mosaic = 2.0"),
        ("augment_late={at=1, zoom=[2.0, 1.0]}", "augment_late.zoom"),
        ("augment_late={at=-1}", "augment_late.at = -1"),
        ("augment_late=3", "augment_late"),
    ],
)
def test_values_without_a_meaning_are_refused(setting: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        load_recipe("traffic-lights", [setting])
    assert message in str(error.value)
