"""Resampled mAP is what the scorer would say of the resampled images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from edgestill.detections import Detections
from runtime.metrics.bootstrap import draws, resampled
from runtime.metrics.coco import Truth
from runtime.metrics.evaluate import score

CLASSES = ("red", "yellow", "green", "off")
Truths, Predictions = Callable[..., list[Truth]], Callable[..., list[Detections]]


def scored(
    predictions: Sequence[Detections], truths: Sequence[Truth], images: list[int]
) -> tuple[float | None, float | None]:
    """By the scorer: the images at some positions, which may repeat."""
    found = [predictions[i] for i in images]
    whole = score(found, [truths[i] for i in images], CLASSES, [(200, 200)] * len(images))
    return whole.map50, whole.map50_95


def test_every_draw_scores_as_the_scorer_scores_it(
    make_truths: Truths, make_predictions: Predictions
) -> None:
    truths = make_truths(12)
    found = make_predictions(truths, 0.7, seed=1)
    weights = draws(12, 5)
    for row, (map50, map50_95) in zip(weights, resampled(found, truths, 4, weights), strict=True):
        images = [i for i, times in enumerate(row) for _ in range(times)]
        expected = (pytest.approx(map50, abs=1e-9), pytest.approx(map50_95, abs=1e-9))
        assert scored(found, truths, images) == expected


def test_more_than_a_hundred_detections_of_an_image_are_cut_as_the_scorer_cuts_them(
    make_truths: Truths,
) -> None:
    random = np.random.default_rng(0)
    truths = make_truths(3, seed=4)
    predictions = []
    for truth in truths:
        near = np.repeat(truth.xyxy, 70, axis=0) + random.normal(0, 6, (70 * len(truth.xyxy), 4))
        predictions.append(
            Detections(
                near.astype(np.float32),
                np.sort(random.random(len(near)).astype(np.float32))[::-1],
                np.repeat(truth.class_id, 70),
            )
        )
    expected = scored(predictions, truths, [0, 1, 2])
    assert tuple(resampled(predictions, truths, 4, draws(3, 0))[0]) == pytest.approx(expected, abs=1e-9)


def test_a_draw_without_labels_has_no_score(make_truths: Truths, make_predictions: Predictions) -> None:
    empty = Truth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    truths = [*make_truths(1, seed=3), empty]
    maps = resampled(make_predictions(truths, 1.0, seed=0), truths, 4, np.array([[1, 1], [2, 0], [0, 2]]))
    assert np.isfinite(maps[:2]).all()
    assert np.isnan(maps[2]).all()


def test_a_network_that_finds_nothing_scores_nothing(make_truths: Truths) -> None:
    truths = make_truths(4)
    assert resampled([Detections.empty()] * 4, truths, 4, draws(4, 0)).tolist() == [[0.0, 0.0]]


def test_draws_repeat_and_have_as_many_images_as_there_are() -> None:
    weights = draws(9, 50)
    assert (weights.sum(1) == 9).all()
    assert (weights[0] == 1).all()
    assert np.array_equal(weights, draws(9, 50))


def test_groups_are_drawn_as_a_whole() -> None:
    weights = draws(6, 40, groups=[0, 0, 1, 2, 2, 2])
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3:] == weights[:, 3:4]).all()
    assert (weights[1:, [0, 2, 3]].sum(1) == 3).all()
    assert (weights[0] == 1).all()


def test_the_third_figure_is_the_mean_of_some_classes(
    make_truths: Truths, make_predictions: Predictions
) -> None:
    truths = make_truths(12)
    found = make_predictions(truths, 0.7, seed=1)
    (row,) = resampled(found, truths, 4, draws(12, 0), primary=[1])
    by_class = score(found, truths, CLASSES, [(200, 200)] * 12).per_class
    expected = by_class["yellow"]["ap50_95"]
    assert row[2] == pytest.approx(expected, abs=1e-9)
    assert row[1] != pytest.approx(expected, abs=1e-3)
