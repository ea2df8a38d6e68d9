"""What is lost for sure is beyond the limits, what a few labels cannot tell is a doubt."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgestill.detections import Detections
from edgestill.errors import VerificationError
from export.verify.compare import DetectorRun, Sample, compare
from export.verify.comparison import Comparison
from export.verify.gate import LIMITS, describe, doubts, failures, refuse_beyond
from runtime.metrics.coco import Truth

CLASSES = ("red", "yellow", "green", "off")
Row = tuple[float, float, float, float, float, int]
RED: Row = (10, 10, 20, 40, 0.9, 0)
YELLOW: Row = (50, 10, 60, 40, 0.9, 1)


def found(*rows: Row) -> Detections:
    """Detections from x0, y0, x1, y1, score, class."""
    table = np.asarray(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def judged(truth: Sequence[Sequence[Row]], candidate: Sequence[Sequence[Row]]) -> Comparison:
    """A reference that finds all that is there, and a candidate, image by image."""
    there = [found(*rows) for rows in truth]
    shown = [Sample(Path("x.png"), Truth(d.xyxy, d.class_id)) for d in there]
    size = ((100, 100),) * len(there)
    return compare(
        DetectorRun(tuple(there), size),
        DetectorRun(tuple(found(*r) for r in candidate), size),
        shown,
        CLASSES,
    )


def lower(row: Row, by: float) -> Row:
    """The same box, cut short by some pixels."""
    return (*row[:3], row[3] - by, *row[4:])  # type: ignore[return-value]


def test_one_box_of_a_rare_class_is_a_doubt_and_no_failure() -> None:
    truth = [[RED]] * 120 + [[YELLOW]] * 2
    result = judged(truth, [*truth[:-1], [lower(YELLOW, 6)]])
    assert result.drop_points is not None
    assert result.drop_points > 5
    assert failures(result, LIMITS["int8"]) == ()
    [doubt] = doubts(result, LIMITS["int8"])
    assert "yellow weighs most" in doubt
    assert "on 2 labels" in doubt


def test_a_loss_on_many_labels_is_none_of_chance() -> None:
    truth = [[RED]] * 120 + [[YELLOW]] * 2
    result = judged(truth, [[lower(RED, 6)]] * 120 + [[YELLOW]] * 2)
    assert any("mAP50-95 fell by" in line for line in failures(result, LIMITS["int8"]))
    assert doubts(result, LIMITS["int8"]) == ()


def test_a_rare_class_that_is_worse_in_every_image_is_beyond_the_limit() -> None:
    truth = [[RED]] * 600 + [[YELLOW]] * 6
    result = judged(truth, [[RED]] * 600 + [[lower(YELLOW, 6)]] * 6)
    assert result.drop_by_label_points is not None
    assert result.drop_by_label_points < 1
    assert any("mAP50-95 fell by" in line for line in failures(result, LIMITS["int8"]))


def test_a_class_that_is_gone_is_found_among_many_of_another() -> None:
    truth = [[RED]] * 300 + [[YELLOW]] * 4
    result = replace(judged(truth, [[RED]] * 300 + [[]] * 4), drop_low_points=0.0)
    assert any("0 of 4 yellow are matched" in line for line in failures(result, LIMITS["int8"]))


def test_one_lost_box_of_a_rare_class_is_on_the_edge() -> None:
    truth = [[RED]] * 300 + [[YELLOW]] * 4
    assert failures(judged(truth, [*truth[:-1], []]), LIMITS["int8"]) == ()


def test_what_holds_the_limits_has_no_doubt() -> None:
    truth = [[RED], [YELLOW]] * 60
    assert doubts(judged(truth, truth), LIMITS["int8"]) == ()


def test_a_difference_that_is_no_number_never_passes() -> None:
    result = replace(judged([[RED]], [[RED]]), candidate_map50_95=float("nan"))
    assert any("mAP50-95 fell by" in line for line in failures(result, LIMITS["int8"]))


def test_a_nan_drift_never_passes() -> None:
    result = replace(judged([[RED]], [[RED]]), score_drift_mean=float("nan"))
    assert failures(result, LIMITS["int8"])


def test_one_lost_of_twenty_is_too_many_and_one_of_two_hundred_is_not() -> None:
    base = judged([[RED]], [[RED]])
    assert failures(replace(base, reference_sure=20, matched=19, missed=1), LIMITS["int8"])
    assert not failures(replace(base, reference_sure=200, matched=199, missed=1), LIMITS["int8"])


def test_beyond_the_limits_is_an_error_that_names_the_figures() -> None:
    result = judged([[RED]], [[]])
    with pytest.raises(VerificationError, match=r"x\.onnx: .*; 0 of 1 detections are matched") as caught:
        refuse_beyond(result, LIMITS["fp16"], "x.onnx", "keep FP32")
    assert caught.value.exit_code == 6


def test_the_description_holds_facts_limits_and_failures() -> None:
    told = describe(judged([[RED]], [[RED]]), LIMITS["int8"])
    assert told["matched"] == 1
    assert told["limits"]["max_drop"] == LIMITS["int8"].max_drop
    assert told["failures"] == []
