"""A small untrained network with lively weights, made without torch, and images for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill import architecture
from edgestill.checkpoint import Checkpoint
from edgestill.dataset import Dataset
from edgestill.spec import ModelSpec
from export.quantize.calibration.observer import TensorStatistics, observe
from runtime.backends.ort import EXACT

HW = (64, 96)
CLASSES = ("red", "green")


def _conv(
    weights: dict[str, NDArray[Any]], name: str, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    """One convolution with batch norm that keeps the size of what runs through it."""
    out, fan_in = shape[0], np.prod(shape[1:])
    weights[f"{name}.conv.weight"] = rng.normal(0, np.sqrt(2.0 / fan_in), shape).astype(np.float32)
    weights[f"{name}.bn.weight"] = rng.uniform(0.6, 1.4, out).astype(np.float32)
    weights[f"{name}.bn.bias"] = rng.normal(0, 0.3, out).astype(np.float32)
    weights[f"{name}.bn.running_mean"] = rng.normal(0, 0.2, out).astype(np.float32)
    weights[f"{name}.bn.running_var"] = rng.uniform(0.5, 1.5, out).astype(np.float32)
    weights[f"{name}.bn.num_batches_tracked"] = np.asarray(7, np.int64)


def random_weights(spec: ModelSpec, seed: int = 0) -> dict[str, NDArray[Any]]:
    """A state dict of the spec's architecture and head, with the original's names."""
    rng = np.random.default_rng(seed)
    size = architecture.size_of(spec.name)
    weights: dict[str, NDArray[Any]] = {}
    for layer in architecture.layers(size):
        name, c_in, c_out = f"model.{layer.index}", layer.in_channels, layer.out_channels
        if layer.kind == "conv":
            _conv(weights, name, (c_out, c_in, layer.kernel, layer.kernel), rng)
        elif layer.kind == "c3":
            half = c_out // 2
            for part, shape in {"cv1": (half, c_in), "cv2": (half, c_in), "cv3": (c_out, 2 * half)}.items():
                _conv(weights, f"{name}.{part}", (*shape, 1, 1), rng)
            for k in range(layer.repeats):
                _conv(weights, f"{name}.m.{k}.cv1", (half, half, 1, 1), rng)
                _conv(weights, f"{name}.m.{k}.cv2", (half, half, 3, 3), rng)
        elif layer.kind == "sppf":
            _conv(weights, f"{name}.cv1", (c_in // 2, c_in, 1, 1), rng)
            _conv(weights, f"{name}.cv2", (c_out, 2 * c_in, 1, 1), rng)
    HEADS[spec.head](weights, spec, rng)
    return weights


def _predictor(
    weights: dict[str, NDArray[Any]], name: str, out: int, width: int, rng: np.random.Generator
) -> None:
    """One 1x1 convolution with a bias, of moderate logits."""
    shape = (out, width, 1, 1)
    weights[f"{name}.weight"] = rng.normal(0, 0.3 / np.sqrt(width), shape).astype(np.float32)
    weights[f"{name}.bias"] = rng.normal(0, 1, out).astype(np.float32)


def _coupled(weights: dict[str, NDArray[Any]], spec: ModelSpec, rng: np.random.Generator) -> None:
    out = len(spec.anchors_px[0]) * (5 + spec.nc)
    for i, width in enumerate(architecture.level_channels(architecture.size_of(spec.name)).values()):
        _predictor(weights, f"model.24.m.{i}", out, width, rng)
    _anchors(weights, spec)


def _decoupled(weights: dict[str, NDArray[Any]], spec: ModelSpec, rng: np.random.Generator) -> None:
    size = architecture.size_of(spec.name)
    hidden, anchors = architecture.tower_channels(size), len(spec.anchors_px[0])
    for i, width in enumerate(architecture.level_channels(size).values()):
        _conv(weights, f"model.24.stems.{i}", (hidden, width, 1, 1), rng)
    for i in range(1 if spec.share_levels else len(spec.strides)):
        for tower in ("cls_convs", "reg_convs"):
            for k in range(2):
                _conv(weights, f"model.24.{tower}.{i}.{k}", (hidden, hidden, 3, 3), rng)
        for kind, columns in {"cls": spec.nc, "reg": 4, "obj": 1}.items():
            _predictor(weights, f"model.24.{kind}_preds.{i}", anchors * columns, hidden, rng)
    _anchors(weights, spec)


def _anchors(weights: dict[str, NDArray[Any]], spec: ModelSpec) -> None:
    strides = np.asarray(spec.strides).reshape(-1, 1, 1)
    weights["model.24.anchors"] = (np.asarray(spec.anchors_px) / strides).astype(np.float32)


def _dfl(weights: dict[str, NDArray[Any]], spec: ModelSpec, rng: np.random.Generator) -> None:
    channels = architecture.level_channels(architecture.size_of(spec.name))
    boxes, classes = max(64, channels["p3"] // 4), max(channels["p3"], min(spec.nc, 100))
    for i, width in enumerate(channels.values()):
        for branch, within, out in (("cv2", boxes, 64), ("cv3", classes, spec.nc)):
            name = f"model.24.{branch}.{i}"
            _conv(weights, f"{name}.0", (within, width, 3, 3), rng)
            _conv(weights, f"{name}.1", (within, within, 3, 3), rng)
            _predictor(weights, f"{name}.2", out, within, rng)
    weights["model.24.dfl.conv.weight"] = np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1)


HEADS = {"coupled": _coupled, "decoupled": _decoupled, "dfl": _dfl}


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    return ModelSpec(name="yolov5n", input_hw=HW, classes=CLASSES)


@pytest.fixture(scope="session")
def checkpoint(spec: ModelSpec) -> Checkpoint:
    return Checkpoint(spec=spec, weights=random_weights(spec), sha256="0" * 64)


@pytest.fixture(scope="session")
def feeds(spec: ModelSpec) -> list[NDArray[np.float32]]:
    """Smooth random pictures as network inputs, float32 ``[1, 3, h, w]``."""
    rng = np.random.default_rng(1)
    small = [rng.uniform(0, 1, (8, 12, 3)).astype(np.float32) for _ in range(4)]
    large = [cv2.resize(s, HW[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1) for s in small]
    return [np.ascontiguousarray(image.transpose(2, 0, 1)[None]) for image in large]


@pytest.fixture(scope="session")
def float_model(checkpoint: Checkpoint) -> Any:
    from export.graph.yolov5 import build_onnx

    return build_onnx(checkpoint.spec, checkpoint.weights)


@pytest.fixture(scope="session")
def statistics(float_model: Any, spec: ModelSpec, feeds: list[NDArray[np.float32]]) -> TensorStatistics:
    from export.graph.detector_graph import DetectorGraph

    graph = DetectorGraph(float_model, spec.scale)
    return observe(
        float_model, feeds, histograms=graph.observed_tensors(), means=graph.convolution_inputs(), threads=1
    )


@pytest.fixture
def run_onnx() -> Callable[[Any, NDArray[np.float32]], NDArray[np.float32]]:
    """Run a model in memory on ONNX Runtime."""
    import onnxruntime

    def run(model: Any, feed: NDArray[np.float32]) -> NDArray[np.float32]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry(EXACT, "1")  # weights of 8 bits, on whatever CPU
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return np.asarray(session.run(None, {"images": feed})[0])

    return run


def _write_dataset(root: Path) -> Dataset:
    rng = np.random.default_rng(2)
    for split, count in (("train", 12), ("val", 4)):
        for folder in ("images", "labels"):
            (root / folder / split).mkdir(parents=True)
        for i in range(count):
            level = 30 if i % 2 else 200
            image = rng.normal(level, 15, (48, 64, 3)).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(root / "images" / split / f"{i}.png"), image)
            side = 0.1 if i % 4 < 2 else 0.4
            (root / "labels" / split / f"{i}.txt").write_text(f"{i % 2} 0.5 0.5 {side} {side}\n")
    path = root / "data.yaml"
    path.write_text("train: images/train\nval: images/val\nnames: [red, green]\n")
    return Dataset.open(path)


#: How many times torch's own float32 error another float32 implementation may have: it adds in another order.
#: Measured over all heads on a CPU with AVX-512: 0.3 to 1.8.
FLOAT32_RATIO = 8


def check_float32(ours: NDArray[Any], theirs: NDArray[Any], exact: NDArray[Any]) -> None:
    """Assert that a float32 output is as close to the float64 one as torch's float32 output is.

    A fixed tolerance does not fit: the error of a box grows with its size and with the raw outputs, which are
    large in a network of random weights. At 640 x 640 ONNX Runtime and torch are both up to 0.024 pixels from
    the float64 result, in boxes of 258 and 508 pixels.

    Args:
        ours: float32 ``[rows, columns]``, of the file.
        theirs: The same of torch in float32.
        exact: The same of torch with float64 weights and activations.
    """
    limit = FLOAT32_RATIO * np.abs(theirs - exact).max(axis=0)
    scale = np.abs(exact).max(axis=0)
    assert (limit < 1e-3 * scale).all(), "a reference this inexact would prove nothing"
    limit = np.maximum(limit, np.finfo(np.float32).eps * scale)
    error = np.abs(ours - exact).max(axis=0)
    assert (error <= limit).all(), f"largest errors by column {error}, limits {limit}"


@pytest.fixture(scope="session")
def assert_float32_close() -> Callable[..., None]:
    """``check_float32``."""
    return check_float32


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Dark and bright pictures with small and large lights: 12 to train on, 4 to validate."""
    return _write_dataset(tmp_path)


@pytest.fixture(scope="session")
def seen_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of statistics, for exports whose calibration is not the point."""
    return tmp_path_factory.mktemp("seen")


@pytest.fixture(scope="session")
def kept_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The same for tests that share exports of it: nothing of it may be changed."""
    return _write_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="session")
def make_weights() -> Callable[..., dict[str, NDArray[Any]]]:
    """``random_weights``, for tests that need other sizes."""
    return random_weights
