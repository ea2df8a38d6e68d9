"""For real, with no GPU: TensorRT-RTX parses and builds every file that is exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from devices.tensorrt_support import RTX_CAPABILITIES
from edgestill.errors import ArtifactError
from edgestill.spec import ModelSpec
from export.tensorrt.builder import Built, build
from export.tensorrt.options import EngineOptions
from runtime.tensorrt.engine_layers import read_listing
from runtime.tensorrt.library import Library, load_library

pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX for this machine")

HW = (64, 96)
ONE = EngineOptions(capabilities=("8.6",))  # each further kind of GPU costs as much again
N = ModelSpec(name="yolov5n", input_hw=HW, classes=("red", "green"))
SPECS = {
    "n-coupled": N,
    "n-decoupled": replace(N, head="decoupled"),
    "n-dfl": replace(N, head="dfl", anchors_px=(), layout="yolov8"),
    "s-coupled": replace(N, name="yolov5s"),
    "s-dfl": replace(N, name="yolov5s", head="dfl", anchors_px=(), layout="yolov8"),
}
CASES = [
    *((name, precision) for name in ("n-coupled", "n-dfl") for precision in ("fp32", "fp16", "int8")),
    *(
        pytest.param(name, precision, marks=pytest.mark.slow)
        for name, precision in (
            *(("n-decoupled", precision) for precision in ("fp32", "fp16", "int8")),
            ("s-coupled", "int8"),
            ("s-dfl", "fp16"),
        )
    ),
]


@pytest.fixture(scope="session")
def rtx() -> Library:
    return load_library("tensorrt-rtx")


def listed(built: Built) -> dict[str, int]:
    assert built.listed is not None
    return read_listing(built.listed).counts()


@pytest.mark.default_cases("n-coupled-int8")
@pytest.mark.parametrize(("name", "precision"), CASES)
def test_every_file_that_is_exported_parses_and_builds(
    name: str, precision: Any, rtx: Library, write_graph: Callable[..., bytes], make_weights: Any
) -> None:
    spec = SPECS[name]
    built = build(rtx, write_graph(spec, make_weights(spec), precision), precision, ONE)
    assert len(built.plan) > 1_000_000
    found = listed(built)
    wanted = {"fp32": "float32", "fp16": "float16", "int8": "int8"}[precision]
    assert found[wanted] > 0.8 * sum(found.values())
    assert sum(found.values()) >= 60


@pytest.mark.parametrize(
    ("name", "precision", "form"),
    [
        ("n-coupled", "fp32", {"output": "compact", "pixels": "uint8", "batch": 4}),
        ("n-coupled", "int8", {"output": "compact", "pixels": "uint8"}),
        ("n-dfl", "fp16", {"output": "compact", "batch": 2}),
        ("n-decoupled", "fp16", {"pixels": "uint8"}),
        pytest.param("n-coupled", "fp32", {"output": "compact", "opset": 13}, marks=pytest.mark.slow),
        pytest.param("n-dfl", "fp32", {"output": "compact", "opset": 13}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_every_form_of_a_file_parses_and_builds(
    name: str,
    precision: Any,
    form: dict[str, Any],
    rtx: Library,
    write_graph: Callable[..., bytes],
    make_weights: Any,
) -> None:
    spec = SPECS[name]
    built = build(rtx, write_graph(spec, make_weights(spec), precision, **form), precision, ONE)
    found = listed(built)
    wanted = {"fp32": "float32", "fp16": "float16", "int8": "int8"}[precision]
    assert found[wanted] > 0.8 * sum(found.values())


def test_the_table_has_the_capabilities_of_the_library(rtx: Library) -> None:
    named = {f"SM{capability.replace('.', '')}" for capability in RTX_CAPABILITIES}
    assert set(rtx.module.ComputeCapability.__members__) - {"NONE", "CURRENT"} == named


def test_where_no_gpu_can_load_it_nothing_is_claimed_of_the_engine(
    rtx: Library, graphs: dict[str, bytes]
) -> None:
    built = build(rtx, graphs["fp32"], "fp32", ONE)
    if built.inspected is not None:
        pytest.skip("a GPU of this machine loads it")
    assert built.timing_cache == b""
    assert built.strongly_typed


@pytest.mark.slow
def test_progress_is_told(rtx: Library, graphs: dict[str, bytes]) -> None:
    told: list[tuple[Any, ...]] = []
    build(rtx, graphs["fp32"], "fp32", ONE, report=lambda *event: told.append(event))
    outermost = [(done, steps) for _, parent, steps, done in told if parent is None]
    assert outermost[0][0] == 0
    assert outermost[-1][0] == outermost[-1][1]


@pytest.mark.slow
def test_the_same_graph_gives_the_same_engine(rtx: Library, graphs: dict[str, bytes]) -> None:
    first, second = (build(rtx, graphs["fp16"], "fp16", ONE).plan for _ in range(2))
    assert first == second


def test_the_graph_for_x86_is_refused_with_the_parsers_reason(
    rtx: Library, float_model: Any, spec: ModelSpec, statistics: Any
) -> None:
    from edgestill.quantization import FULL_RANGE
    from export.graph.detector_graph import DetectorGraph
    from export.quantize.qdq import quantise
    from export.quantize.qdq_placement import for_openvino

    plan = for_openvino(DetectorGraph(float_model, spec.scale), statistics)
    data = quantise(float_model, plan, statistics, FULL_RANGE).SerializeToString()
    with pytest.raises(ArtifactError, match="cannot read the graph"):
        build(rtx, data, "int8", ONE)
