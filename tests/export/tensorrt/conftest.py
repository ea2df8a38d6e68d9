"""Graphs for TensorRT in every precision, of the small network of ``tests/export``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runtime.tensorrt_library import Library


@pytest.fixture(scope="session")
def write_graph(feeds: Any) -> Callable[..., bytes]:
    """Writes a checkpoint's graph as the exporter does for TensorRT."""
    from edgestill.roundings import WIDE_SUMS
    from export.form import Form, reform
    from export.graph import build_onnx
    from export.half import halve, to_half
    from export.int8 import largest
    from export.network import Graph
    from export.placement import for_tensorrt
    from export.quantize import quantise
    from export.statistics import gather

    def write(spec: Any, weights: Any, precision: str, images: Any = None, **form: Any) -> bytes:
        model = build_onnx(spec, weights)
        if precision == "fp16":
            model = to_half(model, spec.scale, {}).model
        if precision == "int8":
            graph = Graph(model, spec.scale)
            means = graph.conv_inputs()
            seen = gather(model, images or feeds[:1], histograms=graph.to_watch(), means=means, threads=1)
            plan = for_tensorrt(graph, seen)
            model = halve(quantise(model, plan, seen, WIDE_SUMS), plan.float_readers, largest(seen)).model
        model = reform(model, spec, Form(**form))
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
