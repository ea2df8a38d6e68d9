"""Shifted before it is rounded, a signed byte says what an unsigned one with a zero point says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgestill.quantization import FULL_RANGE
from edgestill.spec import ModelSpec
from export.graph.detector_graph import DetectorGraph
from export.quantize.blocks import blocks_of, keep_float, nodes_of
from export.quantize.calibration.observer import TensorStatistics
from export.quantize.qdq import quantise
from export.quantize.qdq_placement import QdqPlan, for_tensorrt

Run = Callable[[Any, Any], Any]


@pytest.fixture(scope="module")
def graph(float_model: Any, spec: ModelSpec) -> DetectorGraph:
    return DetectorGraph(float_model, spec.scale)


@pytest.fixture(scope="module")
def plan(graph: DetectorGraph, statistics: TensorStatistics) -> QdqPlan:
    return for_tensorrt(graph, statistics)


def both(model: Any, plan: QdqPlan, statistics: TensorStatistics) -> tuple[Any, Any]:
    """The graph in signed bytes, and the same grid as unsigned bytes with zero points and no shift."""
    return quantise(model, plan, statistics, FULL_RANGE), quantise(
        model, replace(plan, signed=False), statistics, FULL_RANGE
    )


def of_kind(model: Any, kind: str) -> list[Any]:
    return [n for n in model.graph.node if n.op_type == kind]


def test_signed_bytes_say_what_unsigned_ones_say(
    float_model: Any, plan: QdqPlan, statistics: TensorStatistics, feeds: Any, run_onnx: Run
) -> None:
    signed, unsigned = both(float_model, plan, statistics)
    assert len(of_kind(signed, "Sub")) > 20
    assert not of_kind(unsigned, "Sub")
    ours, theirs = run_onnx(signed, feeds[0]), run_onnx(unsigned, feeds[0])
    apart, rounding = np.abs(ours - theirs), np.abs(ours - run_onnx(float_model, feeds[0]))
    # A number between two bytes may fall to either side with the order of a sum; rounding itself is far more.
    assert np.median(apart) < 0.02 * np.median(rounding)


@pytest.mark.default_cases("model.9")
@pytest.mark.parametrize("stage", ["model.4", "model.9", "model.13", "model.20"])
def test_a_block_that_left_the_bytes_reads_whole_numbers(
    stage: str,
    float_model: Any,
    graph: DetectorGraph,
    plan: QdqPlan,
    statistics: TensorStatistics,
    feeds: Any,
    run_onnx: Run,
) -> None:
    block = next(b for b in blocks_of(graph, plan.convolutions) if b.name == stage)
    left = keep_float(plan, graph, nodes_of([block]))
    signed, unsigned = both(float_model, left, statistics)
    ours, theirs = run_onnx(signed, feeds[0]), run_onnx(unsigned, feeds[0])
    rounding = np.abs(ours - run_onnx(float_model, feeds[0]))
    assert np.median(np.abs(ours - theirs)) < 0.02 * np.median(rounding)


def test_an_engine_reads_zero_as_zero_and_needs_one_subtraction_a_tensor(
    float_model: Any, plan: QdqPlan, statistics: TensorStatistics
) -> None:
    signed, _ = both(float_model, plan, statistics)
    shifted = {n.input[0] for n in of_kind(signed, "Sub")}
    wanted = {t for t, used in plan.activations.items() if used.zero != 128}
    # What only moves bytes about passes the shift on.
    assert shifted == {t for t in wanted if not t.endswith(".cat") and ".pool" not in t}
    readers = {n.output[0]: n for n in signed.graph.node}
    assert all(readers[f"{t}.shifted"].input[0] == t for t in shifted)
