"""Students whose batch norms have seen something, and where exports of each family round them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from distill.models.yolov5 import build, model_spec
from edgestill.quantization import PostTraining
from edgestill.spec import HeadKind
from edgestill.target import QdqTarget
from export.graph.detector_graph import DetectorGraph
from export.graph.yolov5 import build_onnx
from export.job import INT8_SETTINGS
from export.quantize.calibration.observer import TensorStatistics, observe
from export.quantize.int8 import make_int8
from export.quantize.qat_scales import begin
from runtime.backends.ort import EXACT

HW = (32, 32)
CLASSES = ("red", "green")


def draw(count: int, seed: int) -> NDArray[np.float32]:
    """Smooth random pictures with a hard edge each, float32 ``[count, 3, h, w]``, of whole bytes."""
    rng = np.random.default_rng(seed)
    small = torch.from_numpy(rng.uniform(0, 1, (count, 3, 4, 4)).astype(np.float32))
    images = torch.nn.functional.interpolate(small, HW, mode="bicubic").clamp(0, 1)
    for image in images:
        y, x = rng.integers(0, HW[0] - 12), rng.integers(0, HW[1] - 8)
        image[:, y : y + 12, x : x + 8] = torch.from_numpy(rng.uniform(0, 1, (3, 1, 1)).astype(np.float32))
    return (images * 255).round().numpy() / np.float32(255)


def make(head: HeadKind) -> Any:
    """A network in float, and for a family of engines where training begins and what an export writes.

    These are ``model``, its contract ``spec``, ``begin`` and ``exported``.
    """
    torch.manual_seed(0)
    model = build("n", len(CLASSES), head=head).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # fresh ones let maps fade with depth
            torch.nn.init.uniform_(module.weight, 0.5, 2.0)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
            module.momentum = 0.5
    with torch.no_grad():
        for seed in range(3):
            model(torch.from_numpy(draw(4, seed)))
    contract = model_spec(model.eval(), CLASSES, HW)
    source = build_onnx(contract, {n: t.numpy() for n, t in model.state_dict().items()})
    graph = DetectorGraph(source, contract.scale)
    feeds = [image[None] for image in draw(4, 3)]

    @cache
    def seen(family: QdqTarget) -> TensorStatistics:
        return observe(
            source,
            feeds,
            histograms=graph.observed_tensors(),
            means=graph.convolution_inputs(),
            convolutions=tuple(graph.body),
            weight_limit=INT8_SETTINGS[family].weight_limit,
            threads=1,
        )

    def post_training(family: QdqTarget) -> PostTraining:
        return begin(graph, seen(family), INT8_SETTINGS[family], record={"images": {}})

    def exported(family: QdqTarget) -> onnx.ModelProto:
        return make_int8(graph, seen(family), INT8_SETTINGS[family])[0]

    return SimpleNamespace(model=model, spec=contract, begin=post_training, exported=exported)


@pytest.fixture(scope="session")
def pictures() -> Callable[[int, int], NDArray[np.float32]]:
    return draw


@pytest.fixture(scope="session")
def students() -> Callable[[HeadKind], Any]:
    """A student of each head, made once."""
    made: dict[HeadKind, Any] = {}
    return lambda head: made.get(head) or made.setdefault(head, make(head))


@pytest.fixture(scope="session")
def student(students: Callable[[HeadKind], Any]) -> Any:
    return students("coupled")


@pytest.fixture(scope="session")
def run_onnx() -> Callable[[onnx.ModelProto, NDArray[np.float32]], NDArray[np.float32]]:
    """Run a model in memory on ONNX Runtime, optimised as the runtime has it."""

    def run(model: onnx.ModelProto, images: NDArray[np.float32]) -> NDArray[np.float32]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry(EXACT, "1")  # weights of 8 bits, on whatever CPU
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return np.concatenate([session.run(None, {"images": image[None]})[0] for image in images])

    return run
