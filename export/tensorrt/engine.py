"""Make an engine from a graph: check that it can be built, build it or take it from the cache, prove it.

The cache key contains everything that an engine depends on. The builder's timing cache is stored beside the
engines; its key contains the machine and the library only.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from devices.detect import DeviceSnapshot, detect
from devices.tensorrt_rules import precision_refusal
from devices.tensorrt_support import dla_refusal, doubts
from edgestill.cache import cache_folder
from edgestill.errors import DeviceError, VerificationError
from edgestill.files import sha256_file, to_json_text
from edgestill.spec import Precision
from edgestill.target import EngineTarget
from export.tensorrt.child import BuildAnswer, build_in_child
from export.tensorrt.options import RTX_DEFAULT, EngineOptions
from export.tensorrt.profile import Profile
from runtime.tensorrt.cuda_driver import GpuFacts, open_driver
from runtime.tensorrt.engine_identity import EnginePlatform, built_ahead, marked, this_platform
from runtime.tensorrt.engine_layers import LayerList, read_layers, read_listing
from runtime.tensorrt.library import Library, load_library

#: Share of convolutions that must run in the requested precision; detection outputs are float by design.
MIN_SHARE: Mapping[Precision, float] = {"fp32": 1.0, "fp16": 0.8, "int8": 0.8}
NAMES: Mapping[Precision, str] = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
UNPROVED = (
    "needs the device: no GPU here can load the engine; run `edgestill inspect FILE --trust-engine` there"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTarget:
    """The library and machine for which engines can be built here.

    Attributes:
        target: The TensorRT library.
        home: The machine on which the engines will run.
        doubts: Known problems of this combination, as sentences.
    """

    target: EngineTarget
    home: EnginePlatform
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A built engine.

    Attributes:
        path: The file.
        built_on: Machine, library and options, for its manifest.
        proved: Number of convolutions by data type: ``executed`` from the engine's inspector, or ``planned``
            from the builder's log.
        unproved: By missing proof, the reason.
        fallbacks: Layers that run on the GPU instead of the DLA.
        runs_here: Whether a device here loaded the engine.
        from_cache: Whether it comes from the cache.
    """

    path: Path
    built_on: Mapping[str, Any]
    proved: Mapping[str, Mapping[str, int]]
    unproved: Mapping[str, str]
    fallbacks: tuple[str, ...]
    runs_here: bool
    from_cache: bool


def find_build_target(target: EngineTarget, precision: Precision, options: EngineOptions) -> BuildTarget:
    """Check that an engine can be built here: library, GPU, precision, options.

    Args:
        target: The TensorRT library.
        precision: The requested precision.
        options: How to build.

    Raises:
        DeviceError: The library is missing, too old, or too new for the GPU; it needs a GPU and there is
            none; the GPU does not support the precision; or the machine does not have what the options need.
        UsageError: The options contradict each other.
    """
    options.check(target, precision)
    library = load_library(target)
    if library.is_rtx:
        home = built_ahead(library.version, options.capabilities or RTX_DEFAULT)
        return BuildTarget(target=target, home=home, doubts=())
    gpu = _gpu(options.device)
    library.refuse_gpu(gpu.name, gpu.compute_capability)
    if refusal := precision_refusal(gpu.name, gpu.compute_capability, precision):
        raise refusal.error()
    if options.dla_core is not None or options.hardware != "this":
        _refuse_machine(library, options, detect())
    return BuildTarget(
        target=target,
        home=this_platform(target, library.version, gpu),
        doubts=tuple(doubts(library.version, gpu.compute_capability, precision)),
    )


def _refuse_machine(library: Library, options: EngineOptions, machine: DeviceSnapshot) -> None:
    """Raise DeviceError if the machine has no DLA, or no engines for other GPUs."""
    refusal = None if options.dla_core is None else dla_refusal(library.version, machine.key)
    if refusal is not None:
        raise DeviceError(refusal, hint="leave --dla out: the GPU runs the engine")
    if options.hardware != "this" and machine.jetson:
        raise DeviceError(
            f"TensorRT has no --hardware {options.hardware} on a Jetson",
            hint="leave it out, and export on each device",
        )


def _gpu(index: int) -> GpuFacts:
    try:
        return open_driver(index).facts()
    except DeviceError as error:
        if index:
            raise
        raise DeviceError(
            f"TensorRT builds on the GPU that will run the engine; {error.what}",
            hint="run this on the device; or --to tensorrt-rtx, which builds with no GPU for RTX cards and "
            "writes the graph for TensorRT beside its engine",
        ) from error


def make_engine(
    build_target: BuildTarget,
    onnx: Path,
    precision: Precision,
    options: EngineOptions,
    out: Path,
    *,
    profile: Profile | None = None,
    excluded: int = 0,
) -> Engine:
    """Build an engine, or take it from the cache, and write it to ``out``.

    Args:
        build_target: From ``find_build_target``.
        onnx: Path of the graph.
        precision: Precision of the graph.
        options: How to build.
        out: Path of the engine file.
        profile: Optimisation profile, for a graph with free dimensions.
        excluded: Number of convolutions at a higher precision on purpose.

    Raises:
        ArtifactError: The graph cannot be parsed.
        DeviceError: The builder failed.
        VerificationError: The engine's layers have another precision.
    """
    depends = {
        "home": asdict(build_target.home),
        "precision": precision,
        "onnx_sha256": sha256_file(onnx),
        "options": {**options.to_json(), "memory_mib": None, "device": 0},
        "profile": profile and profile.to_json(),
    }
    folder = engine_folder()
    kept = folder / f"{_key(depends)}.engine"
    record = _kept_record(kept)
    if record is None:
        record = _build(build_target, onnx, precision, options, profile=profile, kept=kept)
    shutil.copyfile(kept, out)
    proved, unproved = _proof(record, precision, out.name, excluded)
    return Engine(
        path=out,
        built_on={
            **marked(build_target.home, out, portable=options.portable),
            "onnx_sha256": depends["onnx_sha256"],
            "options": options.to_json(),
            "profile": depends["profile"],
            "strongly_typed": record["strongly_typed"],
            "dla_fallbacks": record["fallbacks"],
        },
        proved=proved,
        unproved=unproved,
        fallbacks=tuple(record["fallbacks"]),
        runs_here=record["inspected"] is not None,
        from_cache="sha256" in record,
    )


def engine_folder() -> Path:
    """The cache of built engines, readable for this user only, because engines are native code."""
    return cache_folder("engines")


def _key(depends: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:24]


def _kept_record(kept: Path) -> dict[str, Any] | None:
    """The record of a cached engine; None if there is none, or it is incomplete."""
    try:
        record: dict[str, Any] = json.loads(kept.with_suffix(".json").read_text("utf-8"))
        return record if record["sha256"] == sha256_file(kept) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _build(
    build_target: BuildTarget,
    onnx: Path,
    precision: Precision,
    options: EngineOptions,
    *,
    profile: Profile | None,
    kept: Path,
) -> dict[str, Any]:
    timing = kept.with_name(f"timing-{_key(asdict(build_target.home))}.cache")
    with tempfile.TemporaryDirectory(prefix=".build-", dir=kept.parent) as name:
        folder = Path(name)
        if timing.exists():
            shutil.copyfile(timing, folder / "timing.cache")
        answer: BuildAnswer = build_in_child(
            build_target.target, onnx, precision, options, folder, profile=profile
        )
        if answer.timing_cache.stat().st_size:
            answer.timing_cache.replace(timing)
        record = {
            "inspected": answer.inspected,
            "listed": answer.listed,
            "fallbacks": list(answer.fallbacks),
            "strongly_typed": answer.strongly_typed,
        }
        written = folder / "record.json"
        written.write_text(to_json_text({**record, "sha256": sha256_file(answer.plan)}), "utf-8")
        answer.plan.replace(kept)
        written.replace(kept.with_suffix(".json"))  # last: an engine without a record is ignored
    return record


def _proof(
    record: Mapping[str, Any], precision: Precision, name: str, excluded: int
) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """The precision of the layers: ``proved`` and ``unproved`` of an ``Engine``."""
    layers: LayerList
    if record["inspected"] is not None:
        layers, how = read_layers(record["inspected"]), "executed"
    elif record["listed"] is not None:
        layers, how = read_listing(record["listed"]), "planned"
    else:
        return {}, {"executed": UNPROVED}
    counts = layers.counts()
    wanted, total = counts.get(NAMES[precision], 0), sum(counts.values())
    if not total or wanted < MIN_SHARE[precision] * (total - excluded):
        raise VerificationError(
            f"{name} is not {precision}: {wanted} of {total} convolutions are {how} in "
            f"{NAMES[precision]}, all: {counts}",
            hint="this TensorRT does not follow the precisions of the graph: report it with its version",
        )
    return {how: counts}, {} if how == "executed" else {"executed": UNPROVED}
