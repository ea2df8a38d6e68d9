"""The bytes that are written mean what the float network meant."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgestill.quantization import FULL_RANGE
from edgestill.spec import ModelSpec
from export.graph.detector_graph import DetectorGraph
from export.quantize.calibration.observer import TensorStatistics
from export.quantize.qdq import quantise, quantise_weights
from export.quantize.qdq_placement import QdqPlan, for_onnxruntime, for_openvino, for_tensorrt

Run = Callable[[Any, Any], Any]


@pytest.fixture(scope="session")
def plans(float_model: Any, spec: ModelSpec, statistics: TensorStatistics) -> dict[str, QdqPlan]:
    graph = DetectorGraph(float_model, spec.scale)
    places = {"ort": for_onnxruntime, "ov": for_openvino, "trt": for_tensorrt}
    return {name: place(graph, statistics) for name, place in places.items()}


@pytest.fixture(scope="session")
def models(float_model: Any, plans: dict[str, QdqPlan], statistics: TensorStatistics) -> dict[str, Any]:
    return {name: quantise(float_model, plan, statistics, FULL_RANGE) for name, plan in plans.items()}


def stored(model: Any) -> dict[str, Any]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def test_weights_are_rounded_by_half_a_step_at_most() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (8, 4, 3, 3)).astype(np.float32)
    made = quantise_weights(weight, np.zeros(8, np.float32), np.zeros(4), FULL_RANGE)
    back = made.values * made.scale.reshape(-1, 1, 1, 1)
    assert np.all(np.abs(back - weight).max(axis=(1, 2, 3)) <= made.scale * 0.5001)


def test_the_bias_gives_the_layer_its_mean_back() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (8, 16, 1, 1)).astype(np.float32)
    inputs = rng.normal(3, 1, (16, 5000))  # far from zero, as behind SiLU
    made = quantise_weights(weight, np.ones(8, np.float32), inputs.mean(axis=1), FULL_RANGE)
    back = (made.values * made.scale.reshape(-1, 1, 1, 1)).reshape(8, 16)
    wanted = weight.reshape(8, 16) @ inputs + 1
    got = back @ inputs + made.bias[:, None]
    np.testing.assert_allclose(got.mean(axis=1), wanted.mean(axis=1), atol=1e-5)


def test_a_channel_of_zeros_stays_zero() -> None:
    weight = np.zeros((2, 3, 1, 1), np.float32)
    weight[1] = 1
    made = quantise_weights(weight, np.zeros(2, np.float32), np.ones(3), FULL_RANGE)
    assert not made.values[0].any()
    assert np.isfinite(made.bias).all()


@pytest.mark.parametrize("family", ["ort", "ov", "trt"])
def test_the_network_in_bytes_says_nearly_what_it_said_in_float(
    family: str, models: dict[str, Any], float_model: Any, feeds: Any, run_onnx: Run
) -> None:
    ours, theirs = run_onnx(models[family], feeds[0]), run_onnx(float_model, feeds[0])
    scores = np.corrcoef(ours[..., 4:].ravel(), theirs[..., 4:].ravel())[0, 1]
    assert scores > 0.99


@pytest.mark.parametrize("family", ["ort", "ov", "trt"])
def test_the_same_statistics_give_the_same_bytes(
    family: str, models: dict[str, Any], float_model: Any, spec: ModelSpec, statistics: TensorStatistics
) -> None:
    place = {"ort": for_onnxruntime, "ov": for_openvino, "trt": for_tensorrt}[family]
    again = quantise(
        float_model, place(DetectorGraph(float_model, spec.scale), statistics), statistics, FULL_RANGE
    )
    assert again.SerializeToString(deterministic=True) == models[family].SerializeToString(deterministic=True)


@pytest.mark.parametrize("family", ["ort", "ov", "trt"])
def test_weights_of_a_byte_convolution_are_stored_as_bytes_only(family: str, models: dict[str, Any]) -> None:
    tensors = stored(models[family])
    assert tensors["model.3.conv.weight.bytes"].dtype == np.int8
    assert "model.3.conv.weight" not in tensors


@pytest.mark.parametrize(("family", "kind"), [("ort", np.int32), ("ov", np.float32), ("trt", np.float32)])
def test_the_bias_is_what_the_engine_wants(family: str, kind: Any, models: dict[str, Any]) -> None:
    tensors = stored(models[family])
    assert tensors["model.3.conv.bias.bytes" if kind is np.int32 else "model.3.conv.bias"].dtype == kind


@pytest.mark.parametrize("family", ["ort", "ov", "trt"])
def test_detection_outputs_read_float(family: str, models: dict[str, Any]) -> None:
    nodes = {n.name: n for n in models[family].graph.node}
    assert [nodes[f"model.24.m.{i}"].input[0] for i in range(3)] == [
        f"model.{layer}.cv3.act" for layer in (17, 20, 23)
    ]


@pytest.mark.parametrize("family", ["ort", "ov", "trt"])
def test_every_rounding_is_read(family: str, models: dict[str, Any]) -> None:
    read = {name for node in models[family].graph.node for name in node.input}
    assert {n.output[0] for n in models[family].graph.node if n.op_type == "DequantizeLinear"} <= read


@pytest.mark.parametrize("family", ["ort", "ov", "trt"])
def test_the_spec_stays_in_the_file(family: str, models: dict[str, Any], float_model: Any) -> None:
    assert list(models[family].metadata_props) == list(float_model.metadata_props)


def test_the_float_model_is_left_alone(float_model: Any, models: dict[str, Any]) -> None:
    assert not [n for n in float_model.graph.node if "Linear" in n.op_type]


def test_onnxruntime_executes_the_bytes_that_were_planned(
    tmp_path: Path, models: dict[str, Any], plans: dict[str, QdqPlan]
) -> None:
    from runtime.backend import open_backend

    onnx.save(models["ort"], tmp_path / "m.onnx")
    executed = open_backend(tmp_path / "m.onnx", threads=1).layers_by_dtype()
    assert executed["int8"] == len(plans["ort"].convolutions) > 40


def test_openvino_executes_the_bytes_that_were_planned(
    tmp_path: Path, models: dict[str, Any], plans: dict[str, QdqPlan], spec: ModelSpec
) -> None:
    pytest.importorskip("openvino")
    from export.graph.openvino import write_openvino
    from runtime.backend import open_backend

    write_openvino(models["ov"], spec.to_metadata(), tmp_path / "m.xml", "fp32")
    executed = open_backend(tmp_path / "m.xml", threads=1).layers_by_dtype()
    assert executed["int8"] == len(plans["ov"].convolutions) > 40


def test_tensorrts_bytes_are_signed_and_zero_is_zero(models: dict[str, Any]) -> None:
    zeros = [value for name, value in stored(models["trt"]).items() if name.endswith(".zero")]
    assert len(zeros) > 100
    assert {value.dtype for value in zeros} == {np.dtype(np.int8)}
    assert not any(value.any() for value in zeros)
