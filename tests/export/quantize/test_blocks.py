"""A moved block leaves whole: no rounding without a reader, no layer inside it in bytes, nothing else."""

from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest

from edgestill.quantization import FULL_RANGE
from edgestill.spec import ModelSpec
from export.graph.detector_graph import DetectorGraph
from export.lint.linter import lint, read
from export.quantize.blocks import TOO_SENSITIVE, PrecisionBlock, blocks_of, keep_float, nodes_of
from export.quantize.calibration.observer import TensorStatistics
from export.quantize.calibration.range_methods import ONNXRUNTIME, OPENVINO, TENSORRT
from export.quantize.fp16 import to_fp16
from export.quantize.qdq import quantise
from export.quantize.qdq_placement import QdqPlan, for_onnxruntime, for_openvino, for_tensorrt
from runtime.backend import open_backend

PLACES: dict[str, tuple[Callable[..., QdqPlan], Any]] = {
    "onnx": (for_onnxruntime, ONNXRUNTIME),
    "openvino": (for_openvino, OPENVINO),
    "tensorrt": (for_tensorrt, TENSORRT),
}
EVERY_FAMILY = pytest.mark.parametrize("family", PLACES)
Run = Callable[[Any, Any], Any]


class Made(NamedTuple):
    graph: DetectorGraph
    plan: QdqPlan
    blocks: dict[str, PrecisionBlock]


@pytest.fixture(scope="module")
def placed(
    float_model: onnx.ModelProto, spec: ModelSpec, statistics: TensorStatistics
) -> Callable[[str], Made]:
    """The plan of each family, made once."""

    @cache
    def make(family: str) -> Made:
        place, tuning = PLACES[family]
        graph = DetectorGraph(float_model, spec.scale)
        plan = place(graph, statistics, tuning)
        return Made(graph, plan, {b.name: b for b in blocks_of(graph, plan.convolutions)})

    return make


@pytest.fixture
def made(family: str, placed: Callable[[str], Made]) -> Made:
    return placed(family)


def without(made: Made, *names: str) -> QdqPlan:
    return keep_float(made.plan, made.graph, nodes_of(made.blocks[name] for name in names))


@EVERY_FAMILY
def test_the_blocks_are_the_stages_of_the_network(made: Made, family: str) -> None:
    names = [f"model.{i}" for i in (*range(11), 13, 14, 17, 18, 20, 21, 23)]
    assert list(made.blocks) == (names[3:] if family == "tensorrt" else names)
    inside = [name for block in made.blocks.values() for name in block.convolutions]
    assert sorted(inside) == sorted(made.plan.convolutions)
    assert sum(b.work for b in made.blocks.values()) == pytest.approx(made.graph.share(inside))


def test_a_tower_of_a_head_is_a_block(make_weights: Any) -> None:
    from export.graph.yolov5 import build_onnx

    spec = ModelSpec(
        name="yolov5n", input_hw=(64, 96), classes=("a",), head="dfl", anchors_px=(), layout="yolov8"
    )
    model = build_onnx(spec, make_weights(spec))
    graph = DetectorGraph(model, spec.scale)
    found = {b.name: b for b in blocks_of(graph, {*graph.body, *graph.outputs})}
    assert found["model.24.cv3.1"].convolutions == (
        "model.24.cv3.1.0.conv",
        "model.24.cv3.1.1.conv",
        "model.24.cv3.1.2",
    )
    assert sum(name.startswith("model.24.") for name in found) == 6


@EVERY_FAMILY
def test_nothing_moved_changes_nothing(made: Made, family: str) -> None:
    assert keep_float(made.plan, made.graph, frozenset()) is made.plan


@EVERY_FAMILY
@pytest.mark.parametrize("name", ["model.3", "model.6", "model.9", "model.13", "model.23"])
def test_inside_a_moved_block_nothing_is_rounded(name: str, made: Made, family: str) -> None:
    plan = without(made, name)
    inside = made.blocks[name].nodes
    assert not plan.convolutions & inside
    assert made.plan.convolutions - inside == plan.convolutions
    readers = made.graph.readers
    for tensor in plan.activations:
        assert any(r.name not in plan.float_readers for r in readers[tensor]), tensor
    within = {n.output[0] for n in made.graph.nodes if n.name in inside}
    assert all({r.name for r in readers[t]} - inside for t in within & set(plan.activations))
    assert {plan.left_float[conv] for conv in made.blocks[name].convolutions} == {TOO_SENSITIVE}


@EVERY_FAMILY
def test_what_moves_bytes_for_moved_blocks_alone_moves_numbers(made: Made, family: str) -> None:
    """model.11 and model.12 widen and join what only model.13 reads."""
    plan = without(made, "model.13")
    assert plan.float_readers >= {"model.11", "model.12"}
    assert "model.12" not in plan.activations
    assert not {"model.11", "model.12"} & made.plan.float_readers


@pytest.mark.default_cases("names0-onnx", "names2-tensorrt")
@EVERY_FAMILY
@pytest.mark.parametrize("names", [("model.4",), ("model.13", "model.17"), ("model.3", "model.4", "model.5")])
def test_a_file_without_blocks_has_no_lint_and_says_nearly_the_same(
    names: tuple[str, ...],
    made: Made,
    family: str,
    float_model: onnx.ModelProto,
    statistics: TensorStatistics,
    tmp_path: Path,
    feeds: Any,
    run_onnx: Run,
) -> None:
    plan = without(made, *names)
    path = tmp_path / "m.onnx"
    model = quantise(float_model, plan, statistics, FULL_RANGE)
    path.write_bytes(model.SerializeToString())
    written = {n.name for n in model.graph.node if n.op_type == "QuantizeLinear"}
    assert written <= {f"{tensor}.quantise" for tensor in plan.activations}
    assert not [p for p in lint(read(path), (family,)) if p.severities.get(family) == "error"]
    true, ours = run_onnx(float_model, feeds[0]), run_onnx(model, feeds[0])
    assert np.square(ours - true)[..., 4:].mean() < 0.05 * true[..., 4:].var()
    with closing(open_backend(path, threads=1)) as backend:
        computes_int8 = backend.layers_by_dtype().get("int8", 0)
    assert computes_int8 <= len(plan.convolutions) < len(made.plan.convolutions)


@EVERY_FAMILY
def test_all_blocks_moved_is_the_float_network(
    made: Made,
    family: str,
    float_model: onnx.ModelProto,
    statistics: TensorStatistics,
    feeds: Any,
    run_onnx: Run,
) -> None:
    plan = without(made, *made.blocks)
    assert not plan.convolutions
    assert not plan.activations
    model = quantise(float_model, plan, statistics, FULL_RANGE)
    true, ours = run_onnx(float_model, feeds[0]), run_onnx(model, feeds[0])
    np.testing.assert_allclose(ours, true, rtol=1e-4, atol=1e-3)


def test_moved_nodes_stay_single_in_fp16(float_model: onnx.ModelProto, spec: ModelSpec) -> None:
    graph = DetectorGraph(float_model, spec.scale)
    blocks = {b.name: b for b in blocks_of(graph, {*graph.body, *graph.outputs})}
    assert "model.24.m.0" in blocks
    moved = [blocks["model.4"], blocks["model.24.m.0"]]
    made = to_fp16(DetectorGraph(float_model, spec.scale), {}, excluded=nodes_of(moved)).model
    kinds = {t.name: t.data_type for t in made.graph.initializer}
    single = {name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT}
    stayed = [name for name in single if name.endswith("weight")]
    assert sorted(stayed) == sorted(f"{conv}.weight" for block in moved for conv in block.convolutions)
    casts = [n for n in made.graph.node if n.op_type == "Cast" and n.name.startswith("model.4.")]
    assert [n.name for n in casts] == ["model.4.cv3.act.half"]
