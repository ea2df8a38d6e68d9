"""What goes to bytes and what stays float, for each family of engines."""

from collections.abc import Mapping
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import pytest

from edgestill.spec import ModelSpec
from export.graph.detector_graph import DetectorGraph
from export.graph.index import passed_on
from export.quantize.calibration.observer import Histogram, TensorStatistics
from export.quantize.qdq_placement import QdqPlan, for_onnxruntime, for_openvino, for_tensorrt


def once(place: Any) -> Any:
    """The placement, which makes each plan once."""
    made: dict[tuple[int, int], tuple[DetectorGraph, TensorStatistics, QdqPlan]] = {}

    @wraps(place)
    def placed(graph: DetectorGraph, statistics: TensorStatistics) -> QdqPlan:
        key = id(graph), id(statistics)  # of what is kept alive here
        if key not in made:
            made[key] = graph, statistics, place(graph, statistics)
        return made[key][2]

    return placed


for_onnxruntime, for_openvino, for_tensorrt = map(once, (for_onnxruntime, for_openvino, for_tensorrt))
HEAD = {"model.24.m.0", "model.24.m.1", "model.24.m.2"}
PLACEMENTS = pytest.mark.parametrize("place", [for_openvino, for_onnxruntime])


def kernel(conv: Any) -> int:
    return int(next(a.ints[0] for a in conv.attribute if a.name == "kernel_shape"))


@pytest.fixture(scope="module")
def graph(float_model: Any, spec: ModelSpec) -> DetectorGraph:
    return DetectorGraph(float_model, spec.scale)


def ruined(statistics: TensorStatistics, *tensors: str) -> TensorStatistics:
    """The same statistics, but bytes cannot hold some tensors: one value has most of the power."""
    histogram = Histogram()
    values = np.random.default_rng(0).normal(0, 1, 30_000).astype(np.float32)
    histogram.add(np.append(values, np.float32(600)))
    histograms: Mapping[str, Histogram] = {**statistics.histograms, **dict.fromkeys(tensors, histogram)}
    return replace(statistics, histograms=histograms)


def test_the_body_is_what_silu_follows(graph: DetectorGraph) -> None:
    assert len(graph.body) == 57
    assert set(graph.outputs) == HEAD


@PLACEMENTS
def test_detection_outputs_stay_float(graph: DetectorGraph, statistics: TensorStatistics, place: Any) -> None:
    plan: QdqPlan = place(graph, statistics)
    assert not plan.convolutions & HEAD
    assert plan.float_readers >= HEAD


@PLACEMENTS
def test_nothing_behind_the_detection_outputs_is_rounded(
    graph: DetectorGraph, statistics: TensorStatistics, place: Any
) -> None:
    assert not graph.decode_tensors & set(place(graph, statistics).activations)


@PLACEMENTS
def test_what_meets_in_a_concat_has_one_scale(
    graph: DetectorGraph, statistics: TensorStatistics, place: Any
) -> None:
    plan: QdqPlan = place(graph, statistics)
    together = ("model.10.act", "model.6.cv3.act", "model.21.act")  # layers 12 and 22 join them, by way of 11
    assert len({plan.activations[t] for t in together}) == 1


@PLACEMENTS
def test_pixels_are_kept_exactly(graph: DetectorGraph, statistics: TensorStatistics, place: Any) -> None:
    used = place(graph, statistics).activations["images"]
    assert (used.low, used.high, used.zero) == (0.0, 1.0, 0)


def test_openvino_rounds_only_the_shortcut_of_an_addition(
    graph: DetectorGraph, statistics: TensorStatistics
) -> None:
    plan = for_openvino(graph, statistics)
    assert "model.4.m.0.cv2.act" not in plan.activations
    assert {"model.4.cv1.act", "model.4.m.0.add"} <= set(plan.activations)


def test_openvino_rounds_nothing_inside_a_layer(graph: DetectorGraph, statistics: TensorStatistics) -> None:
    inside = {n.output[0] for n in graph.body.values()} | {graph.sigmoid(n) for n in graph.body.values()}
    assert not inside & set(for_openvino(graph, statistics).activations)


def test_onnxruntime_rounds_both_sides_of_every_layer_in_bytes(
    graph: DetectorGraph, statistics: TensorStatistics
) -> None:
    plan = for_onnxruntime(graph, statistics)
    for name in plan.convolutions:
        node = graph.body[name]
        assert {node.output[0], graph.sigmoid(node)} <= set(plan.activations)
        assert graph.activation(node) in {*plan.activations, *plan.left_float}


def test_onnxruntime_leaves_the_layers_in_front_of_the_outputs_float(
    graph: DetectorGraph, statistics: TensorStatistics
) -> None:
    plan = for_onnxruntime(graph, statistics)
    in_front = {"model.17.cv3.conv", "model.20.cv3.conv", "model.23.cv3.conv"}
    assert not in_front & plan.convolutions
    assert in_front <= set(plan.left_float)


def test_silent_values_keep_their_place_in_onnxruntime(
    graph: DetectorGraph, statistics: TensorStatistics
) -> None:
    plan = for_onnxruntime(graph, statistics)
    lows = {n: plan.activations[graph.body[n].output[0]].low for n in plan.convolutions}
    seen = {n: statistics.histograms[graph.body[n].output[0]].low for n in plan.convolutions}
    assert all(lows[n] == max(seen[n], -5.0) for n in lows)


@PLACEMENTS
def test_a_tensor_that_bytes_would_ruin_stays_float_and_says_why(
    graph: DetectorGraph, statistics: TensorStatistics, place: Any
) -> None:
    plan: QdqPlan = place(graph, ruined(statistics, "model.1.act"))
    assert "model.1.act" not in plan.activations
    assert "dB" in plan.left_float["model.1.act"]


def test_onnxruntime_leaves_all_in_front_of_a_ruined_fine_map_float(
    graph: DetectorGraph, statistics: TensorStatistics
) -> None:
    plan = for_onnxruntime(graph, ruined(statistics, "model.1.act"))
    assert not {"model.0.conv", "model.1.conv"} & plan.convolutions
    assert plan.left_float["model.0.conv"] == "model.1.act behind it is float"
    assert not {"images", "model.0.act", "model.0.conv"} & set(plan.activations)


def test_onnxruntime_leaves_nothing_in_front_of_a_ruined_coarse_map_float(
    graph: DetectorGraph, statistics: TensorStatistics
) -> None:
    plan = for_onnxruntime(graph, ruined(statistics, "model.3.act"))
    assert "model.3.act" not in plan.activations
    assert {"model.0.conv", "model.1.conv", "model.3.conv"} <= plan.convolutions


def test_pools_behind_a_float_layer_pool_floats_for_onnxruntime(
    graph: DetectorGraph, statistics: TensorStatistics
) -> None:
    """Bytes that do not lie channels last take ONNX Runtime ten times as long to pool."""
    plan = for_onnxruntime(graph, ruined(statistics, "model.8.cv3.act"))
    assert "model.9.cv1.conv" not in plan.convolutions
    assert not [t for t in plan.activations if t.startswith(("model.9.pool", "model.9.cv1"))]
    assert plan.int8_inputs["model.9.cv2.conv"] == plan.activations["model.9.cat"]


def test_pools_behind_a_layer_in_bytes_pool_bytes(graph: DetectorGraph, statistics: TensorStatistics) -> None:
    plan = for_onnxruntime(graph, statistics)
    assert {f"model.9.pool.{i}" for i in range(3)} <= set(plan.activations)


@PLACEMENTS
def test_no_range_is_kept_for_a_rounding_that_nobody_reads(
    graph: DetectorGraph, statistics: TensorStatistics, place: Any
) -> None:
    plan: QdqPlan = place(graph, ruined(statistics, "model.1.act", "model.8.cv3.act"))
    for tensor in plan.activations:
        assert [r for r in graph.readers[tensor] if r.name not in plan.float_readers], tensor


@PLACEMENTS
def test_convolutions_that_read_a_float_tensor_are_float(
    graph: DetectorGraph, statistics: TensorStatistics, place: Any
) -> None:
    plan: QdqPlan = place(graph, ruined(statistics, "model.1.act"))
    readers = {"model.2.cv1.conv", "model.2.cv2.conv"}
    assert not readers & plan.convolutions
    assert readers <= plan.float_readers


@PLACEMENTS
def test_a_ruined_tensor_takes_its_concat_with_it(
    graph: DetectorGraph, statistics: TensorStatistics, place: Any
) -> None:
    plan: QdqPlan = place(graph, ruined(statistics, "model.9.cv1.act"))
    assert "model.9.cv1.act" not in plan.activations
    assert not [t for t in plan.activations if t.startswith("model.9.pool")]
    assert "model.9.cv2.conv" not in plan.convolutions


@PLACEMENTS
def test_most_of_the_work_stays_in_bytes_however_bad_the_tensors_are(
    graph: DetectorGraph, statistics: TensorStatistics, place: Any
) -> None:
    plan: QdqPlan = place(graph, ruined(statistics, *statistics.histograms))
    assert graph.share(plan.convolutions) > 0.65  # less the front, and twice what may stay float behind it


def test_shares_of_the_work_add_up(graph: DetectorGraph) -> None:
    assert graph.share(graph.body) == pytest.approx(1)
    assert 0.2 < graph.share(["model.5.conv", "model.7.conv", "model.3.conv", "model.1.conv"]) < 0.3


def test_a_tensor_feeds_convolutions_through_what_moves_it(graph: DetectorGraph) -> None:
    assert graph.convolutions_reading_any(["model.14.act"]) == {
        "model.17.cv1.conv",
        "model.17.cv2.conv",
        "model.20.cv1.conv",
        "model.20.cv2.conv",
    }


def test_tensorrt_gets_signed_bytes_about_zero_where_a_border_of_zeros_is_added(
    graph: DetectorGraph, statistics: TensorStatistics
) -> None:
    plan = for_tensorrt(graph, statistics)
    assert plan.signed
    assert not plan.integer_bias
    bordered = [n.input[0] for n in graph.body.values() if n.name in plan.convolutions and kernel(n) == 3]
    assert len(bordered) > 10
    for used in map(plan.activations.__getitem__, bordered):
        assert used.zero == 128  # the byte 0 of a signed one
        assert used.scale == pytest.approx(used.high / 127)


def test_what_only_1x1_convolutions_read_is_shifted_to_the_middle_of_its_range(
    graph: DetectorGraph, statistics: TensorStatistics
) -> None:
    """All 255 steps are then of use: SiLU makes next to nothing below zero."""
    plan = for_tensorrt(graph, statistics)
    for tensor in ("model.3.act", "model.4.cat", "model.9.pool.1", "model.13.cv1.act"):
        assert plan.activations[tensor].zero < 100
    # One that shares its scale is read by a 3 x 3 convolution.
    assert plan.activations["model.12"].zero == plan.activations["model.6.cv3.act"].zero == 128


def test_tensorrt_rounds_the_shortcut_and_not_the_branch(
    graph: DetectorGraph, statistics: TensorStatistics
) -> None:
    """So that an engine can fuse the addition with the convolution of the branch."""
    plan = for_tensorrt(graph, statistics)
    branches = {n.input[1] for n in graph.residual_adds()}
    shortcuts = {n.input[0] for n in graph.residual_adds()}
    assert not branches & set(plan.activations)
    assert shortcuts <= set(plan.activations) | set(plan.left_float)


def test_each_convolution_of_tensorrt_reads_a_pair_of_its_own_scale(
    graph: DetectorGraph, statistics: TensorStatistics
) -> None:
    plan = for_tensorrt(graph, statistics)
    assert {graph.body[name].input[0] for name in plan.convolutions} <= set(plan.activations)
    for node in graph.same_scale_nodes():
        scales = {plan.activations.get(t) for t in (*passed_on(node), node.output[0])}
        assert len(scales) == 1


def test_the_finest_maps_stay_float_for_tensorrt_in_one_piece(
    graph: DetectorGraph, statistics: TensorStatistics
) -> None:
    plan = for_tensorrt(graph, statistics)
    fine = {n.name for n in graph.nodes if n.name.startswith(("model.0.", "model.1.", "model.2."))}
    assert graph.front(4) == fine
    assert fine <= plan.float_readers
    assert not {"model.1.act", "model.2.cat", "model.2.m.0.add"} & set(plan.activations)
    assert "model.2.cv3.act" in plan.activations  # the first that a coarser map is made of
    assert not {n for n in plan.float_readers if ".decode." in n}


def test_the_first_convolution_of_tensorrt_sees_the_image_as_it_is(
    graph: DetectorGraph, statistics: TensorStatistics
) -> None:
    plan = for_tensorrt(graph, statistics)
    assert "images" not in plan.activations
    assert plan.left_float["model.0.conv"] == "it reads the image"
    assert HEAD | {"model.0.conv"} <= plan.float_readers
