"""Sums of products of bytes come out right on every CPU, or it is said that they do not."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.backend import open_backend

WIDE = 8  # input channels; two are added in 16 bits on a CPU without a dot product of bytes


def convolution(path: Path, *weights: int) -> Path:
    """Bytes of 255 times weights that repeat along the channels: 1 x 1, ``WIDE`` to ``WIDE``, as Q/DQ."""
    stored: dict[str, Any] = {
        "step": np.float32(1 / 255),
        "out.step": np.float32(WIDE * 127 / 255),
        "none": np.uint8(0),
        "weight": np.tile(np.array(weights, np.int8), WIDE * WIDE // len(weights)).reshape(WIDE, WIDE, 1, 1),
        "weight.step": np.ones(WIDE, np.float32),
        "weight.none": np.zeros(WIDE, np.int8),
    }
    pairs = [("x", "step"), ("y", "out.step")]
    nodes = []
    for name, step in pairs:
        nodes.append(helper.make_node("QuantizeLinear", [name, step, "none"], [f"{name}.bytes"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}.bytes", step, "none"], [f"{name}.byte"]))
    weights = helper.make_node(
        "DequantizeLinear", ["weight", "weight.step", "weight.none"], ["weight.byte"], axis=0
    )
    conv = helper.make_node("Conv", ["x.byte", "weight.byte"], ["y"], kernel_shape=[1, 1])
    shape = [1, WIDE, 16, 16]
    graph = helper.make_graph(
        [*nodes[:2], weights, conv, *nodes[2:]],
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y.byte", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def answer(path: Path, backend: str) -> float:
    opened = open_backend(path, name=backend, threads=1)
    out = opened.infer({"x": np.ones((1, WIDE, 16, 16), np.float32)})
    opened.close()
    return float(next(iter(out.values())).mean())


@pytest.mark.parametrize("weight", [127, 64, -127])
def test_onnx_runtime_adds_right(tmp_path: Path, weight: int) -> None:
    step = WIDE * 127 / 255
    wanted = max(round(WIDE * weight / step), 0) * step
    assert answer(convolution(tmp_path / "sums.onnx", weight), "ort") == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("backend", ["ort", "ov"])
@pytest.mark.parametrize("weights", [(64,), (127, 1), (20, 108), (127, -127, 90, 38)])
def test_what_two_neighbours_keep_within_16_bits_is_added_right_everywhere(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    weights: tuple[int, ...],
) -> None:
    """By the kernel of this CPU, without ONNX Runtime's exact mode: no file of ours asks for that."""
    pytest.importorskip("openvino")
    monkeypatch.setattr("runtime.backends.ov.saturates_here", lambda: True)
    monkeypatch.setattr("runtime.backends.ort.EXACT", "edgestill.no_such_entry")
    step = WIDE * 127 / 255
    found = answer(convolution(tmp_path / "sums.onnx", *weights), backend)
    assert found == pytest.approx(round(WIDE / len(weights) * sum(weights) / step) * step, rel=1e-5)
    assert "saturate" not in capsys.readouterr().err


def test_openvino_says_where_weights_of_eight_bits_are_unsure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    path = convolution(tmp_path / "sums.onnx", 127)
    for saturates, told in ((True, True), (False, False)):
        monkeypatch.setattr("runtime.backends.ov.saturates_here", lambda saturates=saturates: saturates)
        open_backend(path, name="ov", threads=1).close()
        assert ("saturate" in capsys.readouterr().err) == told
