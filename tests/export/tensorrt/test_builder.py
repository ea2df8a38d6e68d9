"""One build function against the interfaces of seven versions, each of which lacks what it lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from devices.tensorrt_support import major_minor
from edgestill.errors import ArtifactError, DeviceError, UsageError
from export.tensorrt.builder import Built, build
from export.tensorrt.options import EngineOptions
from runtime.tensorrt.engine_layers import read_layers
from runtime.tensorrt.library import Library
from tests.standins.versions import STRONG_VERSIONS, VERSIONS, WEAK

Libraries = Callable[..., Library]
PLAIN = EngineOptions()


def asked(built: Built) -> dict[str, Any]:
    """What the stand-in's builder was asked for."""
    found: dict[str, Any] = json.loads(built.plan)["asked"]
    return found


def counts(built: Built) -> dict[str, int]:
    assert built.inspected is not None
    return read_layers(built.inspected).counts()


@VERSIONS
@pytest.mark.parametrize(
    ("precision", "least"),
    [("fp32", {"float32": 60}), ("fp16", {"float16": 60}), ("int8", {"int8": 50})],
)
def test_every_version_builds_every_precision(
    version: str, precision: Any, least: dict[str, int], library_of: Libraries, graphs: dict[str, bytes]
) -> None:
    found = counts(build(library_of(version), graphs[precision], precision, PLAIN))
    assert sum(found.values()) == 60
    assert all(found[dtype] >= number for dtype, number in least.items())


@pytest.mark.parametrize("version", WEAK)
@pytest.mark.parametrize(
    ("precision", "flags"), [("fp32", set()), ("fp16", {"FP16", "TF32"}), ("int8", {"FP16", "INT8", "TF32"})]
)
def test_before_10_flags_allow_a_precision(
    version: str, precision: Any, flags: set[str], library_of: Libraries, graphs: dict[str, bytes]
) -> None:
    built = build(library_of(version), graphs[precision], precision, PLAIN)
    assert set(asked(built)["flags"]) == flags
    assert not built.strongly_typed


@STRONG_VERSIONS
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_from_10_on_the_graph_decides_and_no_flag_is_given(
    version: str, precision: Any, library_of: Libraries, graphs: dict[str, bytes]
) -> None:
    built = build(library_of(version), graphs[precision], precision, PLAIN)
    assert asked(built)["flags"] == ["TF32"]  # the library's own default
    assert asked(built)["network"] > 0
    assert built.strongly_typed


@VERSIONS
def test_fp32_is_not_tf32(version: str, library_of: Libraries, graphs: dict[str, bytes]) -> None:
    assert asked(build(library_of(version), graphs["fp32"], "fp32", PLAIN))["flags"] == []


@VERSIONS
def test_the_workspace_is_limited(version: str, library_of: Libraries, graphs: dict[str, bytes]) -> None:
    built = build(library_of(version), graphs["fp32"], "fp32", EngineOptions(workspace_mib=77))
    assert asked(built)["workspace"] == [77 << 20]


@VERSIONS
def test_the_timing_cache_goes_in_and_comes_out(
    version: str, library_of: Libraries, graphs: dict[str, bytes]
) -> None:
    built = build(library_of(version), graphs["fp32"], "fp32", PLAIN, timing_cache=b"seen")
    assert built.timing_cache == b"seen."


@VERSIONS
def test_progress_is_told_where_the_version_has_a_way(
    version: str, library_of: Libraries, graphs: dict[str, bytes]
) -> None:
    told: list[tuple[Any, ...]] = []
    build(library_of(version), graphs["fp32"], "fp32", PLAIN, report=lambda *event: told.append(event))
    assert told == (
        []
        if version in WEAK
        else [
            ("Building", None, 2, 0),
            ("Timing", "Building", 1, 0),
            ("Timing", "Building", 1, 1),
            ("Timing", "Building", 1, 1),
            ("Building", None, 2, 2),
        ]
    )


@pytest.mark.parametrize("version", ["8.5.2", "8.6.1", "10.3.0", "10.4.0", "11.4.1"])
def test_layers_that_fall_back_from_the_dla_are_named(
    version: str, library_of: Libraries, graphs: dict[str, bytes]
) -> None:
    library = library_of(version, dla_cores=2)
    built = build(library, graphs["fp16"], "fp16", EngineOptions(dla_core=1))
    assert "model.0.act.sigmoid" in built.fallbacks
    assert "model.0.conv" not in built.fallbacks
    assert asked(built)["dla"] == 1
    assert "GPU_FALLBACK" in asked(built)["flags"]


def test_without_a_dla_there_is_none_to_fall_back_from(
    library_of: Libraries, graphs: dict[str, bytes]
) -> None:
    with pytest.raises(DeviceError, match="has 0 DLA cores, no core 0"):
        build(library_of("10.3.0"), graphs["fp16"], "fp16", EngineOptions(dla_core=0))


@VERSIONS
@pytest.mark.parametrize(
    ("options", "flag", "level", "since"),
    [
        (EngineOptions(version_compatible=True), "VERSION_COMPATIBLE", None, "8.6.1"),
        (EngineOptions(hardware="ampere-plus"), None, "AMPERE_PLUS", "8.6.1"),
        (EngineOptions(hardware="same-capability"), None, "SAME_COMPUTE_CAPABILITY", "10.9"),
    ],
)
def test_portable_engines_are_built_by_versions_that_can(
    version: str,
    options: EngineOptions,
    flag: str | None,
    level: str | None,
    since: str,
    library_of: Libraries,
    graphs: dict[str, bytes],
) -> None:
    library = library_of(version)
    if major_minor(version) < major_minor(since):
        with pytest.raises(UsageError, match=rf"TensorRT {version} has no --"):
            build(library, graphs["fp32"], "fp32", options)
        return
    built = build(library, graphs["fp32"], "fp32", options)
    assert flag is None or flag in asked(built)["flags"]
    assert level is None or asked(built)["level"] == level
    assert counts(built) == {"float32": 60}  # the inspector may read what this process has built


@VERSIONS
def test_without_a_gpu_the_library_does_not_start_and_the_way_out_is_told(
    version: str, library_of: Libraries, graphs: dict[str, bytes]
) -> None:
    with pytest.raises(
        DeviceError, match="does not start: CUDA initialization failure with error: 35"
    ) as caught:
        build(library_of(version, gpu=False), graphs["fp32"], "fp32", PLAIN)
    assert "--to tensorrt-rtx" in caught.value.hint


@VERSIONS
@pytest.mark.parametrize(
    ("data", "said"), [(b"no graph", "failed to parse"), (None, "only INT8 is supported")]
)
def test_a_graph_that_does_not_parse_is_told_with_the_parsers_words(
    version: str,
    data: bytes | None,
    said: str,
    library_of: Libraries,
    float_model: Any,
    spec: Any,
    statistics: Any,
) -> None:
    from edgestill.quantization import FULL_RANGE
    from export.graph.detector_graph import DetectorGraph
    from export.quantize.qdq import quantise
    from export.quantize.qdq_placement import for_openvino

    if data is None:  # the file for x86 in the place of the one for TensorRT
        plan = for_openvino(DetectorGraph(float_model, spec.scale), statistics)
        data = quantise(float_model, plan, statistics, FULL_RANGE).SerializeToString()
    with pytest.raises(ArtifactError, match=said):
        build(library_of(version), data, "int8", PLAIN)


def test_a_builder_that_gives_up_is_an_error_with_its_last_words(
    library_of: Libraries, graphs: dict[str, bytes]
) -> None:
    library = library_of("10.16.1")

    def give_up(self: Any, network: Any, config: Any) -> None:
        self._logger.log(library.module.ILogger.Severity.ERROR, "could not find any implementation")

    library.module.Builder.build_serialized_network = give_up
    with pytest.raises(DeviceError, match="could not find any implementation"):
        build(library, graphs["fp32"], "fp32", PLAIN)
