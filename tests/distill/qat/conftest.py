"""A student whose batch norms have seen something, and where exports of each family round it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from distill.models.yolov5 import Yolov5, build, fused, spec
from edgestill.roundings import EngineFamily, PostTraining
from edgestill.spec import Head, ModelSpec

HW = (96, 160)
CLASSES = ("red", "green")


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """A network in float, its contract, its graph and what the graph's tensors hold."""

    model: Yolov5
    spec: ModelSpec
    source: onnx.ModelProto
    begin: Callable[[EngineFamily], PostTraining]


def pictures(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Smooth random pictures with a few hard edges, float32 ``[count, 3, h, w]``."""
    rng = np.random.default_rng(seed)
    small = torch.from_numpy(rng.uniform(0, 1, (count, 3, 6, 10)).astype(np.float32))
    images = torch.nn.functional.interpolate(small, HW, mode="bicubic").clamp(0, 1)
    for image in images:
        y, x = rng.integers(0, HW[0] - 24), rng.integers(0, HW[1] - 16)
        image[:, y : y + 24, x : x + 16] = torch.from_numpy(rng.uniform(0, 1, (3, 1, 1)).astype(np.float32))
    return (images * 255).round().numpy() / np.float32(255)  # as a camera's bytes come


def student(head: Head) -> Student:
    """See the module."""
    from export.graph import build_onnx
    from export.job import FAMILY
    from export.placement import Graph
    from export.statistics import gather
    from export.trained import begin

    torch.manual_seed(0)
    model = build("n", len(CLASSES), head=head).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 2.0)  # fresh ones let maps fade with depth
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
            module.momentum = 0.5
    with torch.no_grad():
        for seed in range(3):
            model(torch.from_numpy(pictures(4, seed)))
    contract = spec(model.eval(), CLASSES, HW)
    source = build_onnx(contract, {n: t.numpy() for n, t in model.state_dict().items()})
    graph = Graph(source, contract.scale)
    feeds = [image[None] for image in pictures(4, 3)]
    seen = gather(source, feeds, histograms=graph.to_watch(), means=graph.conv_inputs(), threads=1)

    def post_training(family: EngineFamily) -> PostTraining:
        return begin(source, graph, seen, FAMILY[family], {})

    return Student(model=model, spec=contract, source=source, begin=post_training)


@pytest.fixture(scope="session")
def coupled() -> Student:
    return student("coupled")


@pytest.fixture(scope="session")
def folded(coupled: Student) -> Yolov5:
    return fused(coupled.model)


@pytest.fixture(scope="session")
def run_onnx() -> Callable[[onnx.ModelProto, NDArray[np.float32]], NDArray[np.float32]]:
    """Run a model in memory on ONNX Runtime as the runtime does."""
    import onnxruntime

    def run(model: onnx.ModelProto, images: NDArray[np.float32]) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return np.concatenate([session.run(None, {"images": image[None]})[0] for image in images])

    return run
