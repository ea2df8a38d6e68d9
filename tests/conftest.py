"""What all tests share."""

import os
from pathlib import Path

import numpy as np
import pytest

from edgestill.spec import ModelSpec

ROOT = Path(__file__).resolve().parent.parent
# Two cores and several test processes: a pool per process would only fight the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real traffic-light images, which is no part of the project."""
    folder = Path(os.environ.get("EDGESTILL_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real images are not at {folder} (set EDGESTILL_REAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX detector of one convolution, 32 x 32, that always finds one red in the middle, score 0.81."""
    onnx = pytest.importorskip("onnx")
    make, numpy_helper, kinds = onnx.helper, onnx.numpy_helper, onnx.TensorProto
    spec = ModelSpec(name="tiny", input_hw=(32, 32), classes=("red", "green"))
    rows = np.zeros((1, spec.cells, 5 + spec.nc), np.float32)
    rows[0, 0] = (16, 16, 8, 16, 0.9, 0.9, 0.1)
    constants = {
        "w": np.zeros((1, 3, 32, 32), np.float32),
        "shape": np.array([1, 1, 1]),
        "rows": rows,
    }
    graph = make.make_graph(
        [
            make.make_node("Conv", ["images", "w"], ["nothing"]),
            make.make_node("Reshape", ["nothing", "shape"], ["zero"]),
            make.make_node("Add", ["zero", "rows"], ["output0"]),
        ],
        "tiny",
        [make.make_tensor_value_info("images", kinds.FLOAT, [1, 3, 32, 32])],
        [make.make_tensor_value_info("output0", kinds.FLOAT, list(rows.shape))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    make.set_model_props(model, spec.to_metadata())
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    onnx.save(model, path)
    return path
