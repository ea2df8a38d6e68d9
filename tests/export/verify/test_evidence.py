"""A comparison that no file could fail is refused, one on few detections is doubted."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgestill.detections import Detections
from edgestill.spec import ModelSpec
from export.verify.compare import DetectorRun, Sample, compare
from export.verify.comparison import Comparison
from export.verify.evidence import (
    DETECTIONS,
    LEAST_DETECTIONS,
    LOSS,
    MEAN_AP,
    input_differences,
    nothing_compared,
    rests_on,
    too_few,
)
from export.verify.gate import LIMITS, BeyondLimitsError, NothingComparedError, failures, refuse_beyond
from runtime.metrics.coco import Truth

CLASSES = ("red", "green")
SPEC = ModelSpec(name="yolov5n", input_hw=(64, 96), classes=CLASSES)
Row = tuple[float, float, float, float, float, int]
SURE: Row = (10, 10, 20, 40, 0.9, 0)
WEAK: Row = (10, 10, 20, 40, 0.4, 0)
ELSEWHERE: Row = (60, 60, 70, 90, 0.4, 0)


def found(*rows: Row) -> Detections:
    table = np.asarray(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def compared(
    reference: Sequence[Sequence[Row]],
    candidate: Sequence[Sequence[Row]],
    labels: Sequence[Sequence[Row]] | None = None,
) -> Comparison:
    runs = [
        DetectorRun(tuple(found(*r) for r in side), ((100, 100),) * len(side))
        for side in (reference, candidate)
    ]
    truths = [None] * len(reference) if labels is None else [_truth(found(*rows)) for rows in labels]
    return compare(*runs, [Sample(Path("x.png"), truth) for truth in truths], CLASSES)


def _truth(there: Detections) -> Truth:
    return Truth(there.xyxy, there.class_id)


@pytest.mark.parametrize(
    ("reference", "labels", "words"),
    [
        pytest.param([[], []], None, "there are no labels of its classes", id="nothing-and-no-labels"),
        pytest.param([[], []], [[], []], "there are no labels of its classes", id="nothing-and-empty-labels"),
        pytest.param([[WEAK]], None, "0.5 or more on 1 image,", id="weak-and-no-labels"),
        pytest.param([[ELSEWHERE]], [[SURE]], "mAP50-95 on 1 labels is 0.00 points", id="none-of-the-labels"),
        pytest.param([[]], [[SURE]], "a file that finds nothing would pass", id="labels-and-no-detection"),
    ],
)
def test_what_a_blind_file_would_pass_is_no_proof(
    reference: list[list[Row]], labels: list[list[Row]] | None, words: str
) -> None:
    blind: list[list[Row]] = [[] for _ in reference]
    for candidate in (reference, blind):
        result = compared(reference, candidate, labels)
        assert rests_on(result, LIMITS["int8"].max_drop) == ()
        assert words in failures(result, LIMITS["int8"])[0]
        with pytest.raises(NothingComparedError, match="nothing was compared") as caught:
            refuse_beyond(result, LIMITS["int8"], "x.onnx was not published", "calibrate again")
        assert caught.value.exit_code == 6
        assert not isinstance(caught.value, BeyondLimitsError), "a repair would build again and again"


def test_labels_alone_are_a_proof_that_a_blind_file_fails() -> None:
    same, blind = (compared([[WEAK]] * 3, side, [[WEAK]] * 3) for side in ([[WEAK]] * 3, [[]] * 3))
    assert rests_on(same, 1.0) == (MEAN_AP,)
    assert failures(same, LIMITS["int8"]) == ()
    assert failures(blind, LIMITS["int8"])
    [doubt] = too_few(same, 1.0)
    assert "only mAP50-95 on 3 labels was compared" in doubt


def test_a_drop_that_may_be_all_of_it_is_no_limit() -> None:
    result = compared([[WEAK]], [[WEAK]], [[WEAK]])
    assert rests_on(result, 99.0) == (MEAN_AP,)
    assert rests_on(result, 100.0) == ()
    assert "100.00 points, of which 100 may be lost" in str(nothing_compared(result, 100.0))


def test_a_reference_that_is_no_number_proves_nothing() -> None:
    result = compared([[WEAK]], [[WEAK]], [[WEAK]])
    assert rests_on(replace(result, reference_map50_95=float("nan")), 1.0) == ()


def test_one_or_two_detections_are_doubted_and_a_hundred_are_not() -> None:
    for count in (1, 2, LEAST_DETECTIONS - 1):
        result = compared([[SURE]] * count, [[SURE]] * count)
        assert rests_on(result, 1.0) == (DETECTIONS,)
        assert failures(result, LIMITS["int8"]) == ()
        [doubt] = too_few(result, 1.0)
        assert f"{count} confident detection{'s' * (count > 1)}: {LEAST_DETECTIONS} are needed" in doubt
    enough = compared([[SURE]] * LEAST_DETECTIONS, [[SURE]] * LEAST_DETECTIONS)
    assert too_few(enough, 1.0) == ()


def test_the_least_number_is_the_smallest_that_excludes_the_loss() -> None:
    assert (1 - LOSS) ** LEAST_DETECTIONS <= 0.05 < (1 - LOSS) ** (LEAST_DETECTIONS - 1)


def test_nothing_is_not_called_few() -> None:
    assert too_few(compared([[]], [[]]), 1.0) == ()


def test_other_sizes_and_another_letterbox_are_named() -> None:
    assert input_differences(SPEC, SPEC) == ()
    [size] = input_differences(SPEC, SPEC.resized((32, 64)))
    assert "the input sizes differ, 64x96 and 32x64" in size
    grey, order = input_differences(SPEC, replace(SPEC, pad_value=0, pixel_order="bgr"))[::-1]
    assert grey.endswith("pad_value is 114 and 0")
    assert order.endswith("pixel_order is rgb and bgr")


def test_a_score_map_of_one_side_is_named() -> None:
    [whose] = input_differences(SPEC, replace(SPEC, score_map=((0.4, 0.5),)))
    assert whose.startswith("B has a score map")
    [both] = input_differences(replace(SPEC, score_map=((0.3, 0.5),)), replace(SPEC, score_map=((0.4, 0.5),)))
    assert "score maps of A and B differ" in both
