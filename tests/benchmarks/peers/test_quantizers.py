"""The script around ONNX Runtime's quantiser, which the environment of the tests has as well."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.peers.model_files import HEAD, QUANTIZERS


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A body of one convolution, a head of one, and a last layer that joins boxes and scores."""
    random = np.random.default_rng(0)
    weights = {
        "body": random.normal(0, 1, (4, 3, 3, 3)).astype(np.float32),
        "head": random.normal(0, 1, (4, 4, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["images", "body"], ["a"], "model.0.conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "model.0.act"),
        helper.make_node("Conv", ["b", "head"], ["c"], "model.24.m.0"),
        helper.make_node("Sigmoid", ["c"], ["d"], "model.24.decode.0.sigmoid"),
        helper.make_node("Concat", ["c", "d"], ["output0"], "output0", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 8, 16, 16])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"edgestill.spec": "kept"})
    onnx.save(model, tmp_path / "fp32.onnx")
    np.save(tmp_path / "inputs.npy", random.integers(0, 256, (3, 3, 16, 16), np.uint8))
    return tmp_path / "fp32.onnx"


def quantised(source: Path, *words: str) -> onnx.ModelProto:
    script, target = QUANTIZERS / "ort_int8.py", source.with_name("int8.onnx")
    calibration = ["--calibration", str(source.with_name("inputs.npy")), "--scale", str(1 / 255)]
    command = [sys.executable, str(script), str(source), str(target), *calibration, *words]
    subprocess.run(command, check=True, capture_output=True)
    return onnx.load(target)


def float_nodes(model: onnx.ModelProto) -> set[str]:
    """Operations whose weights, or else whose first input, come from no DequantizeLinear."""
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    operations = [n for n in model.graph.node if n.op_type not in {"QuantizeLinear", "DequantizeLinear"}]
    told_by = {n.name: n.input[1 if n.op_type == "Conv" else 0] for n in operations}
    return {name for name, tensor in told_by.items() if made_by.get(tensor) != "DequantizeLinear"}


def test_the_defaults_quantise_the_head_as_well_and_the_spec_stays(source: Path) -> None:
    model = quantised(source)
    assert "output0" not in float_nodes(model)
    assert "model.24.m.0" not in float_nodes(model)
    assert {entry.key: entry.value for entry in model.metadata_props}["edgestill.spec"] == "kept"


def test_the_recommended_settings_leave_the_whole_head_in_float(source: Path) -> None:
    model = quantised(source, "--recommended", "--leave-out", HEAD)
    assert {"model.24.m.0", "output0"} <= float_nodes(model)
    assert "model.0.conv" not in float_nodes(model)
    kinds = {tensor.name: tensor for tensor in model.graph.initializer}
    scales = [kinds[n.input[1]].dims for n in model.graph.node if n.op_type == "DequantizeLinear"]
    assert [4] in [[*dims] for dims in scales]  # weights have a scale for each channel
    assert any(t.data_type == TensorProto.UINT8 for t in model.graph.initializer)  # activations
