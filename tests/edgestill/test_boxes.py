"""Box geometry, by its properties."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgestill.boxes import cxcywh_to_xyxy, nms, pairwise_iou, xyxy_to_cxcywh

calm = settings(deadline=None, max_examples=60)
coordinate = st.integers(0, 200)
side = st.integers(1, 60)


@st.composite
def some_boxes(draw: st.DrawFn, most: int = 12) -> NDArray[np.float32]:
    rows = draw(st.lists(st.tuples(coordinate, coordinate, side, side), min_size=1, max_size=most))
    return np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float32)


@calm
@given(some_boxes())
def test_corners_survive_the_way_to_centres_and_back(boxes: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes, atol=1e-4)


@calm
@given(some_boxes(), some_boxes())
def test_overlap_is_symmetric(a: NDArray[np.float32], b: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(pairwise_iou(a, b), pairwise_iou(b, a).T, atol=1e-6)


@calm
@given(some_boxes(), some_boxes())
def test_overlap_is_a_part(a: NDArray[np.float32], b: NDArray[np.float32]) -> None:
    overlap = pairwise_iou(a, b)
    assert overlap.min() >= 0
    assert overlap.max() <= 1 + 1e-6


@calm
@given(some_boxes())
def test_a_box_overlaps_itself_wholly(boxes: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(np.diag(pairwise_iou(boxes, boxes)), 1, atol=1e-6)


def test_a_known_overlap() -> None:
    a, b = np.array([[0, 0, 10, 10]], np.float32), np.array([[5, 0, 15, 10]], np.float32)
    np.testing.assert_allclose(pairwise_iou(a, b), [[1 / 3]], atol=1e-6)


def test_a_box_without_area_overlaps_nothing() -> None:
    point = np.array([[3, 3, 3, 3]], np.float32)
    assert pairwise_iou(point, point).item() == 0


def test_no_boxes_overlap_no_boxes() -> None:
    assert pairwise_iou(np.zeros((0, 4), np.float32), np.zeros((2, 4), np.float32)).shape == (0, 2)


@calm
@given(some_boxes(), st.data())
def test_suppression_does_not_depend_on_the_order(boxes: NDArray[np.float32], data: st.DataObject) -> None:
    score = np.linspace(0.1, 0.9, len(boxes), dtype=np.float32)
    order = data.draw(st.permutations(range(len(boxes))))
    kept = nms(boxes, score, 0.5, 300)
    shuffled = nms(boxes[order], score[order], 0.5, 300)
    assert np.array(order)[shuffled].tolist() == kept.tolist()


@calm
@given(some_boxes())
def test_what_is_kept_does_not_overlap(boxes: NDArray[np.float32]) -> None:
    score = np.linspace(0.9, 0.1, len(boxes), dtype=np.float32)
    kept = boxes[nms(boxes, score, 0.5, 300)]
    overlap = pairwise_iou(kept, kept) - np.eye(len(kept), dtype=np.float32)
    assert overlap.max() <= 0.5 + 1e-5


@calm
@given(some_boxes())
def test_what_is_dropped_overlaps_something_better(boxes: NDArray[np.float32]) -> None:
    score = np.linspace(0.9, 0.1, len(boxes), dtype=np.float32)
    kept = set(nms(boxes, score, 0.5, 300).tolist())
    overlap = pairwise_iou(boxes, boxes)
    for lost in set(range(len(boxes))) - kept:
        assert any(overlap[lost, winner] > 0.5 - 1e-5 for winner in kept if winner < lost)


@calm
@given(some_boxes(), st.sampled_from([0.0, 0.5, 0.8, 1.0]))
def test_of_nested_boxes_the_one_with_the_highest_score_stays(
    boxes: NDArray[np.float32], most: float
) -> None:
    """By definition, in exact integers: the coordinates are."""
    score = np.linspace(1, 0.5, len(boxes), dtype=np.float32)
    kept: list[int] = []
    for i, (x0, y0, x1, y1) in enumerate(boxes.astype(int).tolist()):
        for a0, b0, a1, b1 in boxes[kept].astype(int).tolist():
            inter = max(min(x1, a1) - max(x0, a0), 0) * max(min(y1, b1) - max(y0, b0), 0)
            area, other = (x1 - x0) * (y1 - y0), (a1 - a0) * (b1 - b0)
            if inter * 2 > area + other - inter or inter > most * min(area, other):
                break
        else:
            kept.append(i)
    assert nms(boxes, score, 0.5, 300, nested_threshold=most).tolist() == kept


def test_the_best_come_first_and_no_more_than_asked_for() -> None:
    apart = np.array([[i * 20, 0, i * 20 + 10, 10] for i in range(5)], np.float32)
    assert nms(apart, np.array([0.1, 0.5, 0.3, 0.9, 0.7], np.float32), 0.5, 3).tolist() == [3, 4, 1]


def test_equal_scores_keep_their_order() -> None:
    apart = np.array([[i * 20, 0, i * 20 + 10, 10] for i in range(3)], np.float32)
    assert nms(apart, np.full(3, 0.5, np.float32), 0.5, 300).tolist() == [0, 1, 2]


def test_nothing_in_nothing_kept() -> None:
    assert len(nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 0.5, 300)) == 0
