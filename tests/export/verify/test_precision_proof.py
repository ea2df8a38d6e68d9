"""A file is of the precision that it was asked for, or the build fails."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgestill.errors import VerificationError
from export.verify.precision_proof import prove, stored_elements


class Executes:
    """Stands for a loaded model: only what it says of its layers matters here."""

    def __init__(self, **layers: int) -> None:
        self._layers = layers

    def layers_by_dtype(self) -> dict[str, int]:
        return self._layers


def conv_file(folder: Path, dtype: Any) -> Path:
    """An ONNX file with one convolution's weights in ``dtype``."""
    weights = numpy_helper.from_array(np.zeros((4, 3, 3, 3), dtype), "w")
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "conv",
        [helper.make_tensor_value_info("x", kind, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", kind, [1, 4, 6, 6])],
        [weights, numpy_helper.from_array(np.array([1, 2, 3]), "shape")],
    )
    path = folder / "conv.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_weights_are_counted_and_shapes_are_not(tmp_path: Path) -> None:
    assert stored_elements(conv_file(tmp_path, np.float32)) == {"float32": 108}


def test_int8_that_runs_in_float_is_caught(tmp_path: Path) -> None:
    backend: Any = Executes(float32=40, int8=20)
    with pytest.raises(VerificationError, match="only 20 of 60 layers run in int8"):
        prove(conv_file(tmp_path, np.int8), backend, "int8")


def test_int8_with_its_head_in_float_is_int8(tmp_path: Path) -> None:
    backend: Any = Executes(int8=57, float32=3)
    assert prove(conv_file(tmp_path, np.int8), backend, "int8")["executed"] == {"int8": 57, "float32": 3}


def test_fp16_that_stores_fp32_is_caught(tmp_path: Path) -> None:
    backend: Any = Executes(float32=1)
    with pytest.raises(VerificationError, match="only 0 of 108 weights are stored as float16"):
        prove(conv_file(tmp_path, np.float32), backend, "fp16")


def test_fp16_may_be_executed_in_another_type(tmp_path: Path) -> None:
    backend: Any = Executes(float32=1)
    proof = prove(conv_file(tmp_path, np.float16), backend, "fp16")
    assert proof["stored"] == {"float16": 108}


@pytest.mark.parametrize("layers", [{"bfloat16": 60}, {"float32": 59, "bfloat16": 1}, {}])
def test_fp32_that_runs_in_less_is_caught(tmp_path: Path, layers: dict[str, int]) -> None:
    backend: Any = Executes(**layers)
    with pytest.raises(VerificationError, match="is not fp32"):
        prove(conv_file(tmp_path, np.float32), backend, "fp32")


def test_bf16_that_runs_in_float_is_caught(tmp_path: Path) -> None:
    backend: Any = Executes(float32=13, bfloat16=47)
    with pytest.raises(VerificationError, match=r"its 60 layers run as .*'bfloat16': 47"):
        prove(conv_file(tmp_path, np.float16), backend, "bf16")


def test_bf16_with_its_head_in_float_is_bf16(tmp_path: Path) -> None:
    backend: Any = Executes(bfloat16=57, float32=3)
    assert prove(conv_file(tmp_path, np.float16), backend, "bf16")["stored"] == {"float16": 108}


def test_openvino_weights_are_counted(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    model = openvino.convert_model(str(conv_file(tmp_path, np.float32)))
    openvino.save_model(model, tmp_path / "m.xml", compress_to_fp16=True)
    assert stored_elements(tmp_path / "m.xml") == {"float16": 108}
