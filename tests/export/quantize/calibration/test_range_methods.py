"""Each way of clipping does what its name says, on both grids; a family's numbers are its own."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgestill.spec import ModelSpec
from export.graph.detector_graph import DetectorGraph
from export.quantize.calibration.observer import Histogram, TensorStatistics
from export.quantize.calibration.range_methods import METHODS, ONNXRUNTIME, OPENVINO, TENSORRT, Tuning
from export.quantize.qdq_placement import for_openvino
from export.quantize.ranges import LEVELS, symmetric

GRIDS = pytest.mark.parametrize("signed", [False, True])


def histogram_of(values: np.ndarray) -> Histogram:
    histogram = Histogram()
    histogram.add(values.astype(np.float32))
    return histogram


@pytest.fixture(scope="module")
def tailed() -> Histogram:
    """Like an activation: most near zero, a long tail above."""
    values = np.random.default_rng(0).exponential(1.0, 30_000) - 0.25
    values[7] = 60.0
    return histogram_of(values)


@GRIDS
def test_max_covers_all_that_was_seen(tailed: Histogram, signed: bool) -> None:
    used = Tuning(method="max", signed=signed).range_of(tailed)
    assert used.high == pytest.approx(60.0)
    assert used.low <= tailed.low


@GRIDS
def test_percentile_leaves_out_so_many(signed: bool) -> None:
    values = np.random.default_rng(0).permutation(np.linspace(0, 1, 32_000))
    used = Tuning(method="percentile", signed=signed).range_of(histogram_of(values))
    expected = 0.9999 if signed else 0.99995
    assert used.high == pytest.approx(expected, abs=3e-4)


@GRIDS
def test_entropy_clips_a_lonely_outlier_and_keeps_the_body(tailed: Histogram, signed: bool) -> None:
    used = Tuning(method="entropy", signed=signed).range_of(tailed)
    assert 2.0 < used.high < 30.0


@GRIDS
def test_entropy_keeps_values_that_fill_the_grid(signed: bool) -> None:
    """Nothing is to be won by clipping what is evenly spread."""
    values = np.linspace(0, LEVELS, 30_000)
    assert Tuning(method="entropy", signed=signed).range_of(histogram_of(values)).high > 0.97 * LEVELS


@pytest.mark.parametrize("method", METHODS)
@GRIDS
def test_every_method_gives_a_grid_with_an_exact_zero(tailed: Histogram, method: Any, signed: bool) -> None:
    used = Tuning(method=method, signed=signed).range_of(tailed)
    assert used.fake_quantised(np.zeros(1))[0] == 0
    assert not signed or used == symmetric(used.high)


@pytest.mark.parametrize("method", METHODS)
@GRIDS
def test_a_tensor_of_zeros_has_a_range_by_every_method(method: Any, signed: bool) -> None:
    assert Tuning(method=method, signed=signed).range_of(histogram_of(np.zeros(100))).scale > 0


@GRIDS
def test_entropy_clips_more_of_a_long_tail_than_a_percentile_does(signed: bool) -> None:
    histogram = histogram_of(np.random.default_rng(0).lognormal(0, 1, 30_000))
    entropy, percentile, everything = (
        Tuning(method=method, signed=signed).range_of(histogram).high
        for method in ("entropy", "percentile", "max")
    )
    assert entropy < percentile < everything


def test_each_family_says_how_it_clips() -> None:
    assert ONNXRUNTIME.description == OPENVINO.description
    assert (
        "u8 asymmetric per tensor, widest range within 1.5 x least squared error" in ONNXRUNTIME.description
    )
    assert "s8 symmetric" in TENSORRT.description
    assert "shifted where 1 x 1 convolutions read them" in TENSORRT.description
    assert "least cubed error" in TENSORRT.description


def test_a_placement_obeys_the_tuning_it_is_given(
    float_model: Any, spec: ModelSpec, statistics: TensorStatistics
) -> None:
    graph = DetectorGraph(float_model, spec.scale)
    other = for_openvino(graph, statistics, replace(OPENVINO, method="percentile"))
    assert other.activations != for_openvino(graph, statistics).activations
    everything = {"float_share": 1.0, "front_share": 1.0}
    strict = for_openvino(
        graph, statistics, replace(OPENVINO, min_signal_db=200.0, front_signal_db=200.0, **everything)
    )
    assert not strict.convolutions - {"model.0.conv"}
