"""A comparison counts what a person would count, and the limits judge it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgestill.detections import Detections
from export.verify.compare import DetectorRun, Sample, compare
from export.verify.comparison import ClassFigures, Comparison
from export.verify.gate import LIMITS, failures
from runtime.metrics.coco import Truth

CLASSES = ("red", "yellow", "green", "off")


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    """Detections from x0, y0, x1, y1, score, class."""
    table = np.asarray(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def seen(*images: Detections) -> DetectorRun:
    return DetectorRun(images, ((100, 100),) * len(images))


def samples(count: int, truth: Truth | None = None) -> list[Sample]:
    return [Sample(Path("x.png"), truth)] * count


def measured(reference: Detections, candidate: Detections, truth: Truth | None = None) -> Comparison:
    return compare(seen(reference), seen(candidate), samples(1, truth), CLASSES)


RED = (10, 10, 20, 40, 0.9, 0)


def test_a_model_agrees_with_itself() -> None:
    result = measured(found(RED, (50, 50, 60, 80, 0.6, 2)), found(RED, (50, 50, 60, 80, 0.6, 2)))
    assert (result.reference_sure, result.matched, result.missed, result.extra) == (2, 2, 0, 0)
    assert result.score_drift_max == 0
    assert result.iou_mean == pytest.approx(1)
    assert failures(result, LIMITS["fp32"]) == ()


def test_a_detection_that_is_gone_is_missed_and_a_small_one_counted_apart() -> None:
    result = measured(found(RED, (40, 40, 90, 90, 0.8, 2)), found())
    assert (result.matched, result.missed, result.missed_small) == (0, 2, 1)


def test_a_light_found_in_the_other_colour_is_a_swap_not_a_miss() -> None:
    result = measured(found(RED), found((*RED[:5], 2)))
    assert (result.matched, result.missed) == (0, 0)
    assert result.swapped == {"red -> green": 1}
    assert "1 detections changed between red and green" in failures(result, LIMITS["int8"])


def test_a_yellow_seen_as_red_is_a_swap_but_not_between_red_and_green() -> None:
    result = measured(found((*RED[:5], 1)), found(RED))
    assert result.swapped == {"yellow -> red": 1}
    assert result.red_green_swaps == 0


def test_a_score_that_falls_below_one_threshold_is_still_found_again() -> None:
    result = measured(found((*RED[:4], 0.55, 0)), found((*RED[:4], 0.35, 0)))
    assert result.matched == 1
    assert result.score_drift_mean == pytest.approx(-0.2, abs=1e-6)


def test_what_only_the_candidate_sees_is_extra() -> None:
    result = measured(found(), found(RED))
    assert (result.reference_sure, result.extra) == (0, 1)


def test_a_shifted_box_is_not_the_same_box() -> None:
    result = measured(found(RED), found((16, 10, 26, 40, 0.9, 0)))
    assert (result.matched, result.missed, result.extra) == (0, 1, 1)


def test_both_models_are_scored_where_the_labels_are_of_their_classes() -> None:
    truth = Truth(np.array([RED[:4]], np.float32), np.array([0]))
    result = measured(found(RED), found((10, 10, 20, 30, 0.9, 0)), truth)
    assert result.reference_map50_95 == pytest.approx(1)
    assert result.candidate_map50_95 is not None
    assert result.candidate_map50_95 < 0.5
    assert any("mAP50-95 fell by" in line for line in failures(result, LIMITS["int8"]))


def test_without_labels_there_is_no_map_and_no_drop() -> None:
    result = measured(found(RED), found(RED))
    assert (result.reference_map50_95, result.drop_points) == (None, None)


def test_what_the_reference_finds_stands_for_labels() -> None:
    weak = (70, 70, 80, 90, 0.2, 2)  # below what may stand for the truth
    both = found(RED, (50, 50, 60, 80, 0.6, 2), weak)
    assert measured(both, found(RED, (50, 50, 60, 80, 0.4, 2))).kept_map50_95 == pytest.approx(1)
    assert measured(both, found(RED)).kept_map50_95 == pytest.approx(0.5)
    moved = measured(both, found((10, 10, 20, 34, 0.9, 0), (50, 50, 60, 80, 0.6, 2))).kept_map50_95
    assert moved is not None
    assert 0.7 < moved < 1  # an overlap of 0.8 counts at seven of ten thresholds
    assert measured(found(weak), found(RED)).kept_map50_95 is None


def test_sides_are_told_class_by_class() -> None:
    truth = Truth(np.array([RED[:4]], np.float32), np.array([0]))
    result = measured(found(RED, (50, 50, 60, 80, 0.6, 2)), found(RED), truth)
    assert result.by_class == {
        "red": ClassFigures(labels=1, reference_map50_95=1.0, candidate_map50_95=1.0, sure=1, matched=1),
        "green": ClassFigures(labels=0, reference_map50_95=None, candidate_map50_95=None, sure=1, matched=0),
    }
    assert result.drop_by_label_points == 0


def test_the_interval_is_of_the_difference_on_the_same_images(
    make_truths: Callable[..., list[Truth]], make_predictions: Callable[..., list[Detections]]
) -> None:
    truths = make_truths(30)
    shown = [Sample(Path("x.png"), truth) for truth in truths]
    one, other = (seen(*make_predictions(truths, skill, seed=3)) for skill in (0.95, 0.2))
    same, worse = compare(one, one, shown, CLASSES), compare(one, other, shown, CLASSES)
    assert (same.drop_low_points, same.drop_high_points) == (0, 0)
    assert worse == compare(one, other, shown, CLASSES)
    assert worse.drop_low_points is not None
    assert worse.drop_high_points is not None
    assert worse.drop_points is not None
    assert 0 < worse.drop_low_points < worse.drop_points < worse.drop_high_points


def test_without_labels_there_is_no_interval_and_no_class_has_a_score() -> None:
    result = measured(found(RED), found(RED))
    assert (result.drop_low_points, result.drop_high_points, result.drop_by_label_points) == (None,) * 3
    assert result.by_class["red"].labels is None
