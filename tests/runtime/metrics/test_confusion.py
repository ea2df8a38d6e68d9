"""Which class is taken for which."""

from __future__ import annotations

import numpy as np

from edgestill.detections import Detections
from runtime.metrics.coco import Truth, curves
from runtime.metrics.confusion import confusion, taken_for
from runtime.metrics.evaluate import score

NAMES = ["red", "green"]
Box = tuple[float, float, float, float]
HERE, THERE, NOWHERE = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0), (80.0, 0.0, 90.0, 9.0)


def found(*rows: tuple[Box, float, int]) -> Detections:
    return Detections(
        np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([class_id for _, _, class_id in rows], np.int64),
    )


def truth(*rows: tuple[Box, int]) -> Truth:
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    return Truth(boxes, np.array([class_id for _, class_id in rows], np.int64))


def test_hits_mistakes_misses_and_false_alarms_have_their_places() -> None:
    counts = confusion(
        [found((HERE, 0.9, 0), (THERE, 0.8, 0), (NOWHERE, 0.7, 1)), found()],
        [truth((HERE, 0), (THERE, 1)), truth((HERE, 1))],
        2,
    )
    assert counts.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]


def test_a_box_is_found_once_and_by_the_surest() -> None:
    counts = confusion([found((HERE, 0.6, 1), (HERE, 0.9, 0))], [truth((HERE, 0))], 2)
    assert counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_what_is_not_sure_or_overlaps_too_little_does_not_count() -> None:
    beside = (5.0, 0.0, 15.0, 10.0)
    counts = confusion([found((HERE, 0.2, 0), (beside, 0.9, 0))], [truth((HERE, 0))], 2)
    assert counts.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_words_for_what_is_taken_for_what() -> None:
    predictions = [found((HERE, 0.9, 1), (NOWHERE, 0.7, 0))]
    table = taken_for(predictions, [truth((HERE, 0), (THERE, 1))], NAMES)
    assert table == {
        "red": {"red": 0, "green": 1, "missed": 0},
        "green": {"red": 0, "green": 0, "missed": 1},
        "nothing": {"red": 1, "green": 0},
    }


def test_nothing_at_all_is_all_zeros() -> None:
    assert not confusion([], [], 3).any()
    assert not confusion([found()], [truth()], 3).any()


def test_the_mean_of_a_curve_is_the_average_precision() -> None:
    predictions = [found((HERE, 0.9, 0), (NOWHERE, 0.8, 0), (THERE, 0.7, 0))]
    truths = [truth((HERE, 0), (THERE, 0), ((20, 20, 40, 40), 0))]
    drawn = curves(predictions, truths, NAMES, [(100, 100)])
    assert list(drawn) == ["red"]
    assert drawn["red"].mean() == score(predictions, truths, NAMES, [(100, 100)]).per_class["red"]["ap50"]
    assert drawn["red"][[0, 33, 34, 66, 67]].round(3).tolist() == [1, 1, 0.667, 0.667, 0]
