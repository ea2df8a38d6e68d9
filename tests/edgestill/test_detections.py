"""The noun that everybody passes on."""

import numpy as np
import pytest

from edgestill.detections import Detections

TWO = Detections(
    np.array([[0, 0, 4, 4], [2, 2, 8, 8]], np.float32), np.array([0.9, 0.4], np.float32), np.array([1, 0])
)


def test_nothing_found_is_empty() -> None:
    assert len(Detections.empty()) == 0


def test_a_mask_picks() -> None:
    assert TWO.where(np.array([False, True])).class_id.tolist() == [0]


def test_an_index_picks_in_its_order() -> None:
    assert TWO.where(np.array([1, 0])).score.tolist() == pytest.approx([0.4, 0.9])


@pytest.mark.parametrize(
    ("score", "class_id", "wrong"),
    [((0.9,), (0, 0), "score"), ((0.9, 0.8), (0,), "class_id")],
)
def test_arrays_of_different_length_are_refused(
    score: tuple[float, ...], class_id: tuple[int, ...], wrong: str
) -> None:
    with pytest.raises(ValueError, match=f"Detections.{wrong} has shape"):
        Detections(np.zeros((2, 4), np.float32), np.array(score, np.float32), np.array(class_id))


def test_boxes_of_five_columns_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Detections.xyxy has shape \(1, 5\), expected \(1, 4\)"):
        Detections(np.zeros((1, 5), np.float32), np.zeros(1, np.float32), np.zeros(1, np.int64))
