"""From a graph to an engine with its papers: refuse early, take it from the cache or build it, prove it.

The cache is keyed on all that an engine depends on, so that the same request is answered at once. What the
builder measured (its timing cache) lies beside the engines, keyed on the machine and the library alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from devices.tensorrt_support import NO_INT8, doubts
from edgestill.errors import DeviceError, VerificationError
from edgestill.files import sha256_file, to_json_text
from edgestill.spec import Precision
from edgestill.target import EngineTarget
from export.tensorrt.child import BuildAnswer, build_in_child
from export.tensorrt.options import RTX_DEFAULT, EngineOptions
from export.tensorrt.profile import Profile
from runtime.tensorrt.cuda_driver import GpuFacts, open_driver
from runtime.tensorrt.engine_identity import Home, built_ahead, home_here, marked
from runtime.tensorrt.engine_layers import LayerList, read_layers, read_listing
from runtime.tensorrt.library import load_library

#: Share of the convolutions that must compute in what was asked for; a head stays float by design.
MIN_SHARE: Mapping[Precision, float] = {"fp32": 1.0, "fp16": 0.8, "int8": 0.8}
NAMES: Mapping[Precision, str] = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
UNPROVED = "needs the device: no GPU here can load the engine; `edgestill inspect FILE --trust-engine` there"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTarget:
    """Where engines are built, once it is known that they can be.

    Attributes:
        target: Which TensorRT.
        home: What the engines will be valid for.
        doubts: What speaks against this combination, though it builds.
    """

    target: EngineTarget
    home: Home
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine and what is known of it.

    Attributes:
        path: The file.
        built_on: For its manifest.
        proved: Convolutions by data type: ``executed`` as the engine tells, ``planned`` as the builder does.
        unproved: What is not known, and what it needs.
        fallbacks: Layers that a DLA was asked for and the GPU does.
        runs_here: Whether a device here loaded it.
        from_cache: Whether it was built before.
    """

    path: Path
    built_on: Mapping[str, Any]
    proved: Mapping[str, Mapping[str, int]]
    unproved: Mapping[str, str]
    fallbacks: tuple[str, ...]
    runs_here: bool
    from_cache: bool


def find_build_target(target: EngineTarget, precision: Precision, options: EngineOptions) -> BuildTarget:
    """Check, before anything is built, that it can be: library, GPU, precision, options.

    Raises:
        DeviceError: The library is missing, too old, or too new for the GPU; there is no GPU and it needs
            one; the GPU has no such arithmetic.
        UsageError: The options do not go together.
    """
    options.check(target, precision)
    library = load_library(target)
    if library.is_rtx:
        home = built_ahead(library.version, options.capabilities or RTX_DEFAULT)
        return BuildTarget(target=target, home=home, doubts=())
    gpu = _gpu()
    library.refuse_gpu(gpu.name, gpu.compute_capability)
    if precision == "int8" and gpu.compute_capability in NO_INT8:
        raise DeviceError(
            f"{gpu.name}, compute capability {gpu.compute_capability}, has no INT8 arithmetic",
            hint="--precision fp16 is the fast one there",
        )
    return BuildTarget(
        target=target,
        home=home_here(target, library.version, gpu),
        doubts=tuple(doubts(library.version, gpu.compute_capability, precision)),
    )


def _gpu() -> GpuFacts:
    try:
        return open_driver().facts()
    except DeviceError as error:
        raise DeviceError(
            f"TensorRT builds on the GPU that its engine is for; {error.what}",
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
        onnx: The graph.
        precision: What it was made for.
        options: How to build.
        out: Path of the engine file.
        profile: Sizes to build for, where the graph leaves some free.
        excluded: Convolutions of the graph that were left out of the precision on purpose.

    Raises:
        ArtifactError: The graph does not parse.
        DeviceError: The builder failed.
        VerificationError: The engine's layers are of another precision.
    """
    depends = {
        "home": asdict(build_target.home),
        "precision": precision,
        "onnx_sha256": sha256_file(onnx),
        "options": {**options.to_json(), "memory_mib": None},
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
    """Where built engines are kept, readable for this user only: what lies there is run as code."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "edgestill" / "engines"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _key(depends: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:24]


def _kept_record(kept: Path) -> dict[str, Any] | None:
    """What is known of an engine that was built before; None if it was not, or is not whole."""
    try:
        record: dict[str, Any] = json.loads(kept.with_suffix(".json").read_text("utf-8"))
        return record if record["sha256"] == sha256_file(kept) else None
    except (OSError, ValueError, KeyError, TypeError):
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
        written.replace(kept.with_suffix(".json"))  # last: without it the engine does not count
    return record


def _proof(
    record: Mapping[str, Any], precision: Precision, name: str, excluded: int
) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """What the layers compute in, held against the request."""
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
            f"{name} was asked for as {precision}: of {total} convolutions {wanted} are {how} in "
            f"{NAMES[precision]}, all: {counts}",
            hint="this TensorRT builds the graph otherwise than it says: report it with its version",
        )
    return {how: counts}, {} if how == "executed" else {"executed": UNPROVED}
