"""Engines of free sizes: what they are built for, where that is written down, and what they take."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgestill.errors import DeviceError, UsageError
from edgestill.spec import ModelSpec
from export.build import export
from export.graph.interface import Interface
from export.job import Job
from export.tensorrt.builder import build
from export.tensorrt.options import EngineOptions
from export.tensorrt.profile import Profile, fit
from runtime.backend import open_backend
from runtime.detector import open_detector
from runtime.tensorrt.library import load_library
from tests.standins.versions import VERSIONS

PLAIN = EngineOptions()
FREE = Interface(output="compact", batch=None, free_hw=True)
SMALL = EngineOptions(batches=(1, 2, 3), sizes=((32, 64), (64, 96), (128, 96)))


def shapes(profile: Profile | None) -> list[list[int]]:
    assert profile is not None
    return profile.to_json()


def test_a_fixed_graph_has_no_profile(spec: ModelSpec) -> None:
    form = Interface(output="compact", batch=4)
    assert fit(spec, form, PLAIN) == (form, None)


@pytest.mark.parametrize(
    ("form", "options", "wanted"),
    [
        (Interface(batch=None), PLAIN, [[1, 3, 64, 96], [1, 3, 64, 96], [8, 3, 64, 96]]),
        (
            Interface(batch=None),
            EngineOptions(batches=(1, 4, 16)),
            [[1, 3, 64, 96], [4, 3, 64, 96], [16, 3, 64, 96]],
        ),
        (Interface(free_hw=True, batch=2), PLAIN, [[2, 3, 32, 32], [2, 3, 64, 96], [2, 3, 96, 128]]),
        (replace(FREE, pixels="uint8"), SMALL, [[1, 32, 64, 3], [2, 64, 96, 3], [3, 128, 96, 3]]),
    ],
    ids=["batch", "given", "size", "both"],
)
def test_a_profile_is_that_of_the_flags_or_the_usual(
    form: Interface, options: EngineOptions, wanted: list[list[int]], spec: ModelSpec
) -> None:
    assert shapes(fit(spec, form, options)[1]) == wanted


def test_the_rows_are_as_many_as_the_smallest_input_gives(spec: ModelSpec) -> None:
    form, _ = fit(spec, FREE, SMALL)
    assert form.rows == spec.resized((32, 64)).cells
    assert form.least_hw == (32, 64)
    large = spec.resized((640, 640))
    assert fit(large, FREE, PLAIN)[0].rows == FREE.rows


@pytest.mark.parametrize(
    ("form", "options", "said"),
    [
        (Interface(), {"batches": (1, 2, 4)}, "--profile-batch is for a free batch"),
        (Interface(batch=None), {"sizes": ((64, 96),) * 3}, "--profile-size is for a free size"),
        (FREE, {"batches": (2, 4, 8)}, "does not contain a single image"),
        (FREE, {"sizes": ((96, 96), (128, 128), (160, 160))}, "does not contain the file's own size 64x96"),
        (FREE, {"dla_core": 0}, "fixed shapes only"),
    ],
)
def test_a_profile_that_cannot_be_is_a_usage_error(
    form: Interface, options: dict[str, Any], said: str, spec: ModelSpec
) -> None:
    with pytest.raises(UsageError, match=said):
        fit(spec, form, EngineOptions(**options))


@pytest.mark.parametrize(
    "options", [{"batches": (4, 2, 1)}, {"batches": (1, 2)}, {"batches": (0, 1, 2)}, {"sizes": ((64, 64),)}]
)
def test_a_profile_out_of_order_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="not the smallest, optimal and largest"):
        EngineOptions(**options)


def test_options_and_profiles_survive_json(spec: ModelSpec) -> None:
    assert EngineOptions.from_json(json.loads(json.dumps(SMALL.to_json()))) == SMALL
    _, profile = fit(spec, FREE, SMALL)
    assert Profile.from_json(json.loads(json.dumps(shapes(profile)))) == profile


@pytest.fixture(scope="module")
def free_graph(checkpoint: Any, write_graph: Callable[..., bytes]) -> bytes:
    form, _ = fit(checkpoint.spec, FREE, SMALL)
    names = ("output", "batch", "free_hw", "rows", "least_hw")
    return write_graph(
        checkpoint.spec, checkpoint.weights, "fp16", **{name: getattr(form, name) for name in names}
    )


@VERSIONS
def test_no_version_builds_a_free_graph_without_a_profile(
    version: str, free_graph: bytes, library_of: Callable[..., Any]
) -> None:
    with pytest.raises(DeviceError, match="no optimization profile has been defined"):
        build(library_of(version), free_graph, "fp16", PLAIN)


@VERSIONS
def test_every_version_builds_it_with_one(
    version: str, free_graph: bytes, library_of: Callable[..., Any], spec: ModelSpec
) -> None:
    _, profile = fit(spec, FREE, SMALL)
    built = build(library_of(version), free_graph, "fp16", PLAIN, profile=profile)
    assert json.loads(built.plan)["profiles"] == [{"images": shapes(profile)}]


@pytest.mark.slow
def test_an_engine_of_free_sizes_through_the_door(
    checkpoint: Any, on_gpu: Callable[..., Any], tmp_path: Path
) -> None:
    """Built in a process of its own, on record, and run at other sizes than its own."""
    on_gpu("8.5.2")
    job = Job(checkpoint=checkpoint, target="tensorrt", precision="fp16", interface=FREE, engine=SMALL)
    made = export(job, tmp_path, "m", check=lambda built, source: None)
    assert made.record.built_on is not None
    assert made.record.built_on["profile"] == [[1, 3, 32, 64], [2, 3, 64, 96], [3, 3, 128, 96]]
    engine, graph = (open_backend(path) for path in made.files)
    assert engine.inputs[0].shape == (None, 3, None, None)
    assert engine.max_batch == 3
    for shape in ((1, 3, 64, 96), (3, 3, 128, 96), (2, 3, 32, 64)):
        feed = {"images": np.random.default_rng(0).random(shape, dtype=np.float32)}
        np.testing.assert_allclose(engine.infer(feed)["output0"], graph.infer(feed)["output0"], atol=1e-4)
    for shape in ((4, 3, 64, 96), (1, 3, 160, 96), (1, 3, 32, 32)):
        with pytest.raises(UsageError, match=r"takes images from \[1, 3, 32, 64\] to \[3, 3, 128, 96\]"):
            engine.infer({"images": np.zeros(shape, np.float32)})
    detector = open_detector(made.files[0], conf=0.3, input_hw=(128, 96))
    image = np.random.default_rng(1).integers(0, 256, (128, 96, 3), np.uint8)
    found, _ = detector.timed_batch([image] * 5)  # more than it takes at once
    assert [len(f) for f in found] == [len(found[0])] * 5
    assert len(found[0]) > 0


@pytest.mark.slow
def test_another_profile_is_another_engine(
    checkpoint: Any, on_gpu: Callable[..., Any], tmp_path: Path
) -> None:
    from export.tensorrt.engine import engine_folder

    on_gpu("10.3.0")
    job = Job(checkpoint=checkpoint, target="tensorrt", precision="fp16", interface=Interface(batch=None))
    for i, most in enumerate((2, 4, 4)):
        wanted = replace(job, engine=EngineOptions(batches=(1, 1, most)))
        export(wanted, tmp_path / str(i), "m", check=lambda built, source: None)
    assert len(list(engine_folder().glob("*.engine"))) == 2


@pytest.mark.parametrize(
    ("head", "precision", "output"), [("coupled", "int8", "compact"), ("dfl", "fp16", "raw")]
)
@pytest.mark.slow
def test_tensorrt_rtx_builds_free_sizes_for_real(
    head: Any, precision: Any, output: Any, write_graph: Callable[..., bytes], make_weights: Any
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX for this machine")
    spec = ModelSpec(name="yolov5n", input_hw=(64, 96), classes=("red", "green"))
    if head == "dfl":
        spec = replace(spec, head="dfl", anchors_px=(), layout="yolov8")
    options = EngineOptions(capabilities=("8.6",))
    form, profile = fit(spec, replace(FREE, output=output), options)
    names = ("output", "batch", "free_hw", "rows", "least_hw")
    graph = write_graph(spec, make_weights(spec), precision, **{name: getattr(form, name) for name in names})
    library = load_library("tensorrt-rtx")
    assert len(build(library, graph, precision, options, profile=profile).plan) > 1_000_000
    with pytest.raises(DeviceError):
        build(library, graph, precision, options)
