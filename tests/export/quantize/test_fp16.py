"""FP16 files: half the bytes, the same boxes, and no overflow."""

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from edgestill.spec import ModelSpec
from export.graph.detector_graph import DetectorGraph
from export.quantize.fp16 import to_fp16

Run = Callable[[Any, Any], Any]


def kinds(model: Any) -> dict[str, int]:
    return {t.name: t.data_type for t in model.graph.initializer}


def test_weights_are_half_and_the_decode_is_not(float_model: Any, spec: ModelSpec) -> None:
    stored = kinds(to_fp16(DetectorGraph(float_model, spec.scale), {}).model)
    assert stored["model.5.conv.weight"] == TensorProto.FLOAT16
    assert stored["model.24.m.1.bias"] == TensorProto.FLOAT16
    assert stored["model.24.decode.0.cell_x.by"] == TensorProto.FLOAT


def test_a_caller_still_feeds_and_gets_fp32(float_model: Any, spec: ModelSpec) -> None:
    graph = to_fp16(DetectorGraph(float_model, spec.scale), {}).model.graph
    ends = [v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)]
    assert ends == [TensorProto.FLOAT, TensorProto.FLOAT]


def test_it_runs_and_says_the_same(float_model: Any, spec: ModelSpec, feeds: Any, run_onnx: Run) -> None:
    ours = run_onnx(to_fp16(DetectorGraph(float_model, spec.scale), {}).model, feeds[0])
    theirs = run_onnx(float_model, feeds[0])
    np.testing.assert_allclose(ours[..., 4:], theirs[..., 4:], atol=0.02)


def test_a_layer_near_the_end_of_the_range_stays_fp32_and_is_listed(
    float_model: Any, spec: ModelSpec, feeds: Any, run_onnx: Run
) -> None:
    made = to_fp16(DetectorGraph(float_model, spec.scale), {"model.5.conv": 40_000.0})
    assert made.kept["model.5.conv"] == "values up to 40000"
    assert kinds(made.model)["model.5.conv.weight"] == TensorProto.FLOAT
    assert np.isfinite(run_onnx(made.model, feeds[0])).all()


def test_a_weight_that_fp16_cannot_hold_stays_fp32(float_model: Any, spec: ModelSpec) -> None:
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(float_model)
    for tensor in model.graph.initializer:
        if tensor.name == "model.7.conv.weight":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 1e6, tensor.name))
    made = to_fp16(DetectorGraph(model, spec.scale), {})
    assert set(made.kept) == {"model.7.conv"}
    assert kinds(made.model)["model.7.conv.weight"] == TensorProto.FLOAT
