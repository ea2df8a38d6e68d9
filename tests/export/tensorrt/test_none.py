"""Each call of the library that may give nothing, when it does, is an error in two lines or does without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgestill.errors import ArtifactError, DeviceError, UsageError
from export.tensorrt.builder import build
from export.tensorrt.options import EngineOptions
from export.tensorrt.profile import Profile
from runtime.tensorrt.library import Library

Libraries = Callable[..., Library]
PLAIN = EngineOptions()
SHAPE = (1, 3, 64, 96)
PROFILE = Profile(least=SHAPE, best=SHAPE, most=SHAPE)


def none(*_: Any, **__: Any) -> None:
    return None


def null(*_: Any, **__: Any) -> None:
    raise TypeError("pybind11::init(): factory function returned nullptr")


def refuse(*_: Any, **__: Any) -> bool:
    return False


def complain(*_: Any, **__: Any) -> None:
    raise ValueError("Shape provided for min is inconsistent with other shapes.")


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "11.4.0"])
@pytest.mark.parametrize("how", [none, null])
@pytest.mark.parametrize("name", ["Builder", "OnnxParser"])
def test_a_constructor_that_gives_nothing(
    version: str, how: Any, name: str, library_of: Libraries, graphs: dict[str, bytes]
) -> None:
    library = library_of(version)
    setattr(library.module, name, how)
    with pytest.raises(DeviceError, match=rf"TensorRT {version} does not start: .*did not create the"):
        build(library, graphs["fp32"], "fp32", PLAIN)


@pytest.mark.parametrize(
    ("method", "how", "error", "said"),
    [
        ("Builder.create_network", none, DeviceError, "did not create the network"),
        ("Builder.create_builder_config", none, DeviceError, "did not create the builder's config"),
        ("Builder.create_optimization_profile", none, DeviceError, "did not create the profile"),
        ("Builder.build_serialized_network", none, DeviceError, "could not build the engine"),
        ("OnnxParser.parse", refuse, ArtifactError, "no reason given"),
        ("INetworkDefinition.get_input", none, ArtifactError, "the graph has no input"),
        ("IOptimizationProfile.set_shape", complain, DeviceError, "does not accept the profile"),
        (
            "IBuilderConfig.add_optimization_profile",
            lambda *_: -1,
            DeviceError,
            "does not accept the profile",
        ),
    ],
)
def test_a_method_that_gives_nothing(
    method: str, how: Any, error: type[Exception], said: str, library_of: Libraries, graphs: dict[str, bytes]
) -> None:
    library = library_of("10.3.0")
    kind, name = method.split(".")
    setattr(getattr(library.module, kind), name, how)
    with pytest.raises(error, match=said) as caught:
        build(library, graphs["fp32"], "fp32", PLAIN, profile=PROFILE)
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("Runtime", none),
        ("Runtime", null),
        ("Runtime.deserialize_cuda_engine", none),
        ("ICudaEngine.create_engine_inspector", none),
        ("EngineInspector.get_engine_information", none),
    ],
)
def test_an_engine_that_nothing_here_can_load_is_built_without_the_inspectors_word(
    method: str, how: Any, library_of: Libraries, graphs: dict[str, bytes]
) -> None:
    library = library_of("10.3.0")
    kind, _, name = method.partition(".")
    setattr(getattr(library.module, kind) if name else library.module, name or kind, how)
    assert build(library, graphs["fp32"], "fp32", PLAIN).inspected is None


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("IBuilderConfig.create_timing_cache", none),
        ("IBuilderConfig.set_timing_cache", refuse),
        ("ITimingCache.serialize", none),
    ],
)
def test_a_build_without_a_timing_cache_is_only_slower(
    method: str, how: Any, library_of: Libraries, graphs: dict[str, bytes]
) -> None:
    library = library_of("10.3.0")
    kind, name = method.split(".")
    setattr(getattr(library.module, kind), name, how)
    assert build(library, graphs["fp32"], "fp32", PLAIN, timing_cache=b"seen").timing_cache == b""


def test_the_timing_cache_of_another_machine_is_replaced_by_an_empty_one(
    library_of: Libraries, graphs: dict[str, bytes]
) -> None:
    library = library_of("10.3.0")
    config = library.module.IBuilderConfig
    config.set_timing_cache = lambda self, cache, ignore_mismatch: cache._data == b""
    assert build(library, graphs["fp32"], "fp32", PLAIN, timing_cache=b"seen").timing_cache == b"."


def test_a_capability_that_the_library_does_not_take_is_a_usage_error(
    library_of: Libraries, graphs: dict[str, bytes]
) -> None:
    library = Library("tensorrt-rtx", library_of("11.4.0").module, "1.3")
    library.module.ComputeCapability = type("ComputeCapability", (), {"SM89": 1})
    config = library.module.IBuilderConfig
    config.num_compute_capabilities = 0
    config.set_compute_capability = refuse
    for capability in ("8.9", "7.5"):
        with pytest.raises(UsageError, match=f"has no compute capability {capability}"):
            build(library, graphs["fp32"], "fp32", EngineOptions(capabilities=(capability,)))
