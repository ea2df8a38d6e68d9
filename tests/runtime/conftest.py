"""A detector so small that its answers can be told by heart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgestill.spec import ModelSpec

CELL = 32
LAMPS = ModelSpec(
    name="lamps",
    input_hw=(64, 96),
    classes=("red", "yellow", "green", "off"),
    strides=(CELL,),
    anchors_px=(((32.0, 32.0),),),
)


def lamp_onnx(metadata: dict[str, str] | None = None) -> Any:
    """A model that finds lamps by colour: each cell of 32 x 32 input pixels that is red or green is one box.

    Its one convolution turns a cell's mean colour into objectness and class probabilities.
    """
    height, width = LAMPS.input_hw
    y, x = np.mgrid[: height // CELL, : width // CELL]
    rows = x.size
    side = np.full(x.shape, CELL)
    boxes = np.stack([x * CELL + CELL / 2, y * CELL + CELL / 2, side, side], -1).reshape(1, rows, 4)
    from_rgb = np.zeros((9 - 4, 3, 1, 1), np.float32)  # objectness, red, yellow, green, off
    from_rgb[0, :, 0, 0] = (1, 1, -1)
    from_rgb[1, :, 0, 0] = (1, -1, -1)
    from_rgb[3, :, 0, 0] = (-1, 1, -1)
    constants = {
        "w": from_rgb,
        "shape": np.array([1, 5, rows]),
        "boxes": boxes.astype(np.float32),
        "zero": np.float32(0),
        "one": np.float32(1),
    }
    nodes = [
        helper.make_node("AveragePool", ["images"], ["mean"], kernel_shape=[CELL] * 2, strides=[CELL] * 2),
        helper.make_node("Conv", ["mean", "w"], ["raw"]),
        helper.make_node("Reshape", ["raw", "shape"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("Clip", ["rows", "zero", "one"], ["probabilities"]),
        helper.make_node("Concat", ["boxes", "probabilities"], ["output0"], axis=2),
    ]
    graph = helper.make_graph(
        nodes,
        "lamps",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, rows, 9])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, LAMPS.to_metadata() if metadata is None else metadata)
    return model


@pytest.fixture(scope="session")
def lamp_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of ``lamp_onnx``."""
    path = tmp_path_factory.mktemp("lamps") / "lamps.onnx"
    onnx.save(lamp_onnx(), path)
    return path


@pytest.fixture(scope="session")
def write_lamp_model() -> Any:
    """``lamp_onnx``, for tests that change it before they write it."""
    return lamp_onnx


@pytest.fixture(scope="session")
def lamp_spec() -> ModelSpec:
    """What ``lamp_model`` carries."""
    return LAMPS


def paint(*cells: tuple[int, int, str]) -> NDArray[np.uint8]:
    """A black image, 128 x 192 BGR, with a cell of 64 x 64 pixels painted per (row, column, colour)."""
    image = np.zeros((128, 192, 3), np.uint8)
    for row, column, colour in cells:
        bgr = {"red": (0, 0, 255), "green": (0, 255, 0)}[colour]
        image[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64] = bgr
    return image


@pytest.fixture(scope="session")
def painted() -> Any:
    """``paint``."""
    return paint


@pytest.fixture
def lamp_engine(
    on_gpu: Callable[..., Any], make_tensorrt: Callable[..., Any], lamp_spec: ModelSpec, tmp_path: Path
) -> Callable[..., Path]:
    """Builds the lamp model as an engine of a stand-in for TensorRT, with the papers of this user."""
    from edgestill.files import sha256_file
    from edgestill.manifest import Manifest, write_manifest
    from runtime.tensorrt.cuda_driver import open_driver
    from runtime.tensorrt.engine_identity import marked, this_platform

    def build(version: str, portable: tuple[str, ...] = (), cuda: dict[str, Any] | None = None) -> Path:
        on_gpu(version, cuda=cuda)
        trt = make_tensorrt(version)
        log = trt.Logger()
        builder = trt.Builder(log)
        network = builder.create_network(1)
        assert trt.OnnxParser(network, log).parse(lamp_onnx().SerializeToString())
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if "version" in portable:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        path = tmp_path / "lamps.trt.engine"
        path.write_bytes(builder.build_serialized_network(network, config))
        home = this_platform("tensorrt", version, open_driver().facts())
        manifest = Manifest(
            spec=lamp_spec,
            format="tensorrt",
            files={path.name: sha256_file(path)},
            precision="fp32",
            precision_proved={"executed": {"float32": 1}},
            inputs=(),
            outputs=(),
            built_with={"tensorrt": version},
            parent_sha256="0" * 64,
            built_on=marked(home, path, portable=portable),
        )
        write_manifest(path, manifest)
        return path

    return build
