"""What several looks at one frame have found, as one list."""

from typing import Any

import numpy as np
import pytest

from edgestill.detections import Detections
from runtime.tile_merge import TileResult, merge

HW = (100, 200)
LEFT, RIGHT = (0, 0, 120, 100), (80, 0, 200, 100)  # share 40 columns
FRAME = (0, 0, 200, 100)
RED, GREEN = 0, 2


def tile_result(window: tuple[int, int, int, int], *boxes: tuple[Any, ...]) -> TileResult:
    """A look that finds boxes x0, y0, x1, y1, score, class, in pixels of the frame."""
    rows = np.array(boxes, np.float64).reshape(-1, 6)
    xyxy = rows[:, :4] - np.array(window[:2] * 2)
    found = Detections(xyxy.astype(np.float32), rows[:, 4].astype(np.float32), rows[:, 5].astype(np.int64))
    return TileResult(window=window, found=found)


def merged(*tile_results: TileResult, limit: int = 300) -> list[tuple[list[float], float, int]]:
    found = merge(tile_results, HW, limit)
    rows = zip(found.xyxy.tolist(), found.score.tolist(), found.class_id.tolist(), strict=True)
    return [([round(v, 3) for v in box], round(score, 3), k) for box, score, k in rows]


def test_boxes_come_back_in_pixels_of_the_frame_best_first() -> None:
    found = merged(
        tile_result(LEFT, (10, 10, 20, 30, 0.5, RED)), tile_result(RIGHT, (150, 10, 160, 30, 0.8, GREEN))
    )
    assert found == [([150, 10, 160, 30], 0.8, GREEN), ([10, 10, 20, 30], 0.5, RED)]


def test_an_object_in_the_overlap_is_one() -> None:
    found = merged(
        tile_result(LEFT, (92, 10, 104, 40, 0.7, RED)), tile_result(RIGHT, (92, 11, 104, 41, 0.8, RED))
    )
    assert found == [([92, 11, 104, 41], 0.8, RED)]


def test_a_part_is_the_business_of_the_tile_that_sees_all_of_it() -> None:
    # Cut at x = 120, the left tile sees 12 of 24 columns, is surer, and takes the dark half for green.
    found = merged(
        tile_result(LEFT, (108, 10, 120, 40, 0.9, GREEN)), tile_result(RIGHT, (108, 10, 132, 40, 0.8, RED))
    )
    assert found == [([108, 10, 132, 40], 0.8, RED)]


def test_a_part_that_ends_a_little_before_the_border_is_one_too() -> None:
    found = merged(
        tile_result(LEFT, (108, 10, 118.5, 40, 0.9, RED)), tile_result(RIGHT, (108, 10, 132, 40, 0.4, RED))
    )
    assert found == [([108, 10, 132, 40], 0.4, RED)]


def test_at_the_border_of_the_frame_nothing_is_cut() -> None:
    found = merged(
        tile_result(LEFT, (0, 0, 20, 40, 0.9, RED)), tile_result(RIGHT, (180, 60, 200, 100, 0.8, RED))
    )
    assert [box for box, _, _ in found] == [[0, 0, 20, 40], [180, 60, 200, 100]]


def test_what_is_larger_than_the_overlap_is_put_together_of_its_parts() -> None:
    found = merged(
        tile_result(LEFT, (60, 10, 120, 90, 0.7, RED)), tile_result(RIGHT, (80, 12, 150, 88, 0.6, RED))
    )
    assert found == [([60, 10, 150, 90], 0.7, RED)]


def test_parts_of_three_tiles_are_put_together() -> None:
    windows = [(0, 0, 80, 100), (60, 0, 140, 100), (120, 0, 200, 100)]
    parts = [(50, 10, 80, 90), (60, 10, 140, 90), (120, 10, 150, 90)]
    tile_results = [
        tile_result(w, (*box, 0.9 - i / 10, RED))
        for i, (w, box) in enumerate(zip(windows, parts, strict=True))
    ]
    assert merged(*tile_results) == [([50, 10, 150, 90], 0.9, RED)]


@pytest.mark.parametrize(("score", "outline"), [(0.5, [60, 10, 150, 90]), (0.1, [60, 10, 120, 90])])
def test_a_part_takes_on_the_outline_of_the_whole_if_that_is_credible(
    score: float, outline: list[float]
) -> None:
    found = merged(
        tile_result(LEFT, (60, 10, 120, 90, 0.8, RED)), tile_result(FRAME, (60, 10, 150, 90, score, RED))
    )
    assert found == [(outline, pytest.approx(0.8), RED)]


def test_a_part_goes_into_the_better_whole() -> None:
    found = merged(
        tile_result(LEFT, (70, 10, 120, 90, 0.6, RED)), tile_result(FRAME, (70, 10, 199, 90, 0.8, RED))
    )
    assert found == [([70, 10, 199, 90], 0.8, RED)]


def test_a_small_object_in_front_of_a_part_stays() -> None:
    found = merged(
        tile_result(LEFT, (20, 0, 120, 100, 0.9, RED)), tile_result(FRAME, (40, 40, 50, 60, 0.6, RED))
    )
    assert [score for _, score, _ in found] == [0.9, 0.6]


def test_a_small_object_in_a_larger_whole_one_stays() -> None:
    found = merged(
        tile_result(LEFT, (40, 40, 50, 60, 0.6, RED)), tile_result(FRAME, (20, 0, 110, 100, 0.9, RED))
    )
    assert [score for _, score, _ in found] == [0.9, 0.6]


def test_neighbours_at_a_border_stay_two() -> None:
    found = merged(
        tile_result(LEFT, (84, 10, 94, 40, 0.9, RED), (96, 10, 106, 40, 0.8, RED)),
        tile_result(RIGHT, (84, 10, 94, 40, 0.7, RED), (96, 10, 106, 40, 0.6, RED)),
    )
    assert [box for box, _, _ in found] == [[84, 10, 94, 40], [96, 10, 106, 40]]


def test_red_and_green_are_never_one() -> None:
    # Whole in both tiles, and a part in one of a whole in the other look: two classes, two boxes.
    found = merged(
        tile_result(LEFT, (92, 10, 104, 40, 0.7, RED), (60, 50, 120, 90, 0.6, RED)),
        tile_result(RIGHT, (92, 10, 104, 40, 0.8, GREEN)),
        tile_result(FRAME, (60, 50, 150, 90, 0.9, GREEN)),
    )
    assert sorted(k for _, _, k in found) == [RED, RED, GREEN, GREEN]


def test_boxes_of_one_look_are_left_to_its_detector() -> None:
    found = merged(
        tile_result(LEFT, (10, 10, 30, 40, 0.9, RED), (11, 10, 31, 40, 0.8, RED)), tile_result(RIGHT)
    )
    assert len(found) == 2


def test_only_the_best_are_kept() -> None:
    boxes = [(10.0 + 12 * i, 10, 20 + 12 * i, 30, 0.1 * (i + 1), RED) for i in range(5)]
    assert [score for _, score, _ in merged(tile_result(LEFT, *boxes), tile_result(RIGHT), limit=2)] == [
        0.5,
        0.4,
    ]


def test_nothing_is_nothing() -> None:
    assert merged(tile_result(LEFT), tile_result(RIGHT), tile_result(FRAME)) == []


def test_the_frame_alone_has_no_parts() -> None:
    boxes = [(0, 0, 100, 100, 0.9, RED), (100, 0, 200, 100, 0.8, RED)]
    assert len(merged(tile_result(FRAME, *boxes))) == 2
