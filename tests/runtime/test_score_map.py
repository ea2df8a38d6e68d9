"""A map of scores rises, has an exact inverse, and changes nothing about boxes but what is said of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.errors import ArtifactError
from edgestill.spec import ModelSpec, ScoreMap
from runtime.decode import decode
from runtime.letterbox import prepare
from runtime.metrics.coco import Truth
from runtime.metrics.evaluate import EVAL_CONF, score
from runtime.score_map import network_threshold, reported, unmapped

KNOTS: ScoreMap = ((0.01, 0.01), (0.18, 0.25), (0.42, 0.5), (0.9, 0.8))
HW = (32, 64)
SPEC = ModelSpec(name="tiny", input_hw=HW, classes=("red", "green", "off"))


def test_knots_are_met_and_the_ends_stay_within() -> None:
    network, told = (np.array(column) for column in zip(*KNOTS, strict=True))
    np.testing.assert_allclose(reported(network, KNOTS), told, rtol=1e-6)
    ends = reported(np.array([0.0, 1e-12, 1.0]), KNOTS)
    assert (ends >= 0).all()
    assert (ends <= 1).all()


def test_it_rises_everywhere_and_below_the_first_knot_nothing_moves() -> None:
    scores = np.linspace(1e-6, 1 - 1e-6, 20001)
    assert (np.diff(reported(scores, KNOTS).astype(np.float64)) >= 0).all()
    assert (np.diff(reported(scores[::20], KNOTS).astype(np.float64)) > 0).all()
    low = np.array([1e-4, EVAL_CONF, 0.005])
    np.testing.assert_allclose(reported(low, KNOTS), low, rtol=1e-5)


def test_the_inverse_is_exact() -> None:
    scores = np.linspace(0.001, 0.999, 999)
    np.testing.assert_allclose(unmapped(reported(scores, KNOTS), KNOTS), scores, atol=2e-6)
    assert network_threshold(0.25, KNOTS) == pytest.approx(0.18)
    assert [network_threshold(conf, KNOTS) for conf in (0.0, 1.0)] == [0.0, 1.0]


def test_without_knots_scores_are_what_they_were() -> None:
    scores = np.array([0.1, 0.7], np.float32)
    assert reported(scores, ()) is not None
    np.testing.assert_array_equal(reported(scores, ()), scores)
    np.testing.assert_array_equal(unmapped(scores, ()), scores)
    assert network_threshold(0.3, ()) == 0.3


@pytest.mark.parametrize(
    "knots",
    [
        ((0.2, 0.3), (0.1, 0.5)),
        ((0.0, 0.1),),
        ((0.5, 1.0),),
        ((0.1, 0.3), (0.2, 0.3)),
        ((float("nan"), 0.5),),
    ],
)
def test_a_map_that_does_not_rise_is_refused(knots: ScoreMap) -> None:
    with pytest.raises(ArtifactError, match="is not strictly increasing"):
        replace(SPEC, score_map=knots)


def test_the_map_travels_with_the_spec_and_older_specs_have_none() -> None:
    spec = replace(SPEC, score_map=KNOTS)
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert ModelSpec.from_metadata(spec.to_metadata()).score_map == KNOTS
    older = SPEC.to_json()
    del older["score_map"]
    assert ModelSpec.from_json(older) == SPEC


def outputs(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One image's output, raw and compact: the same boxes and scores."""
    rng = np.random.default_rng(seed)
    count = SPEC.cells
    boxes = np.stack(
        [rng.uniform(5, 60, count), rng.uniform(5, 28, count), *rng.uniform(3, 20, (2, count))], axis=1
    )
    gate, classes = rng.uniform(0, 1, (count, 1)) ** 2, rng.uniform(0, 1, (count, 3))
    raw = np.concatenate([boxes, gate, classes], axis=1).astype(np.float32)
    scores = (raw[:, 5:] * raw[:, 4:5]).reshape(-1)
    order = np.argsort(-scores, kind="stable")[:100]
    box, class_id = order // 3, order % 3
    half = raw[box, 2:4] / 2
    rows = [raw[box, :2] - half, raw[box, :2] + half, scores[order, None], class_id[:, None]]
    return raw[None], np.concatenate(rows, axis=1).astype(np.float32)[None]


def found(output: NDArray[np.float32], spec: ModelSpec, conf: float, **options: Any) -> Detections:
    _, fit = prepare(np.zeros((*HW, 3), np.uint8), spec)
    return decode(output, spec, fit, HW, conf=conf, iou=0.6, **options)


@pytest.mark.parametrize("layout", ["yolov5", "compact"])
@pytest.mark.parametrize("multi_label", [True, False])
@pytest.mark.parametrize("conf", [0.001, 0.25, 0.5])
def test_the_boxes_are_those_above_the_threshold_by_the_map(
    layout: Any, multi_label: bool, conf: float
) -> None:
    plain = replace(SPEC, layout=layout)
    output = outputs(0)[layout == "compact"]
    bare = found(output, plain, 0.0005, multi_label=multi_label)
    mapped = found(output, replace(plain, score_map=KNOTS), conf, multi_label=multi_label)
    told = reported(bare.score, KNOTS)
    keep = told > conf
    assert keep.sum() > 3
    np.testing.assert_array_equal(mapped.xyxy, bare.xyxy[keep])
    np.testing.assert_array_equal(mapped.class_id, bare.class_id[keep])
    np.testing.assert_allclose(mapped.score, told[keep], rtol=1e-6)


def test_raw_and_compact_report_the_same_best_boxes() -> None:
    """A file chooses its best K by the network's scores: as the map rises, they are the best by it too."""
    spec = replace(SPEC, score_map=KNOTS)
    raw, compact = outputs(1)
    one, other = found(raw, spec, 0.5), found(compact, replace(spec, layout="compact"), 0.5)
    assert len(one) > 3
    np.testing.assert_allclose(one.score, other.score, rtol=1e-5)
    np.testing.assert_allclose(one.xyxy, other.xyxy, atol=1e-4)
    assert (np.diff(one.score) <= 0).all()


@pytest.mark.parametrize("layout", ["yolov5", "compact"])
def test_average_precision_of_every_class_stays_to_the_bit(layout: Any) -> None:
    pytest.importorskip("faster_coco_eval")
    plain = replace(SPEC, layout=layout)
    pictures = [outputs(seed)[layout == "compact"] for seed in range(4)]
    truths = []
    for output in pictures:
        sure = found(output, plain, 0.3)
        truths.append(Truth(sure.xyxy[::2] + np.float32(1), sure.class_id[::2]))
    by_map = [
        score(
            [found(o, replace(plain, score_map=knots), EVAL_CONF, multi_label=True) for o in pictures],
            truths,
            SPEC.classes,
            [HW] * len(pictures),
        )
        for knots in ((), KNOTS)
    ]
    assert by_map[0].per_class == by_map[1].per_class
    assert 0.02 < (by_map[0].map50_95 or 0) < 0.98
