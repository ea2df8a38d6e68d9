"""Graphs for TensorRT in every precision, of the small network of ``tests/export``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runtime.tensorrt.library import Library


@pytest.fixture(scope="session")
def write_graph(feeds: Any) -> Callable[..., bytes]:
    """Writes a checkpoint's graph as the exporter does for TensorRT."""
    from edgestill.quantization import FULL_RANGE
    from export.graph.detector_graph import DetectorGraph
    from export.graph.interface import Interface, apply_interface
    from export.graph.yolov5 import build_onnx
    from export.quantize.calibration.observer import observe
    from export.quantize.fp16 import convert_to_fp16, to_fp16
    from export.quantize.int8 import largest
    from export.quantize.qdq import quantise
    from export.quantize.qdq_placement import for_tensorrt

    def write(spec: Any, weights: Any, precision: str, images: Any = None, **form: Any) -> bytes:
        model = build_onnx(spec, weights)
        if precision == "fp16":
            model = to_fp16(DetectorGraph(model, spec.scale), {}).model
        if precision == "int8":
            graph = DetectorGraph(model, spec.scale)
            means = graph.convolution_inputs()
            seen = observe(
                model, images or feeds[:1], histograms=graph.observed_tensors(), means=means, threads=1
            )
            plan = for_tensorrt(graph, seen)
            model = convert_to_fp16(
                quantise(model, plan, seen, FULL_RANGE), plan.float_readers, largest(seen)
            ).model
        model = apply_interface(model, spec, Interface(**form))
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    return write


@pytest.fixture(scope="session")
def graphs(checkpoint: Any, write_graph: Callable[..., bytes]) -> dict[str, bytes]:
    return {p: write_graph(checkpoint.spec, checkpoint.weights, p) for p in ("fp32", "fp16", "int8")}


@pytest.fixture(scope="session")
def library_of(make_tensorrt: Callable[..., Any]) -> Callable[..., Library]:
    def make(version: str, **options: Any) -> Library:
        return Library("tensorrt", make_tensorrt(version, **options), version)

    return make
