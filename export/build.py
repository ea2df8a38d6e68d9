"""One export: build in a folder of its own, prove, compare, and publish only what passed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import onnx

from edgestill.checkpoint import Checkpoint
from edgestill.errors import UsageError
from edgestill.files import refuse_overwrite, sha256_file
from edgestill.manifest import Manifest, manifest_path, write_manifest
from edgestill.progress import say
from edgestill.spec import ModelSpec, Precision
from export.calibrate import Calibration
from export.clipping import ONNXRUNTIME, OPENVINO, TENSORRT, Method
from export.form import Form, reform
from export.graph import build_onnx
from export.half import to_half
from export.int8 import Family, largest, make_int8
from export.method_trial import Trial, choose_method
from export.placement import Graph, for_onnxruntime, for_openvino, for_tensorrt
from export.precision import prove, stored_elements
from export.statistics_cache import Watched, gathered
from export.tensorrt.engine import Workplace, make_engine, workplace
from export.tensorrt.options import EngineOptions
from runtime.backend import open_backend

Target = Literal["onnx", "openvino", "tensorrt", "tensorrt-rtx"]
SUFFIX: Mapping[Target, str] = {
    "onnx": ".onnx",
    "openvino": ".xml",
    "tensorrt": ".trt.engine",
    "tensorrt-rtx": ".rtx.engine",
}
FAMILY: Mapping[Target, Family] = {
    "onnx": Family(place=for_onnxruntime, tuning=ONNXRUNTIME),
    "openvino": Family(place=for_openvino, tuning=OPENVINO),
    "tensorrt": Family(place=for_tensorrt, tuning=TENSORRT, halves=True),
    "tensorrt-rtx": Family(place=for_tensorrt, tuning=TENSORRT, halves=True),
}
BACKEND_PACKAGE: Mapping[Target, str] = {"onnx": "onnxruntime", "openvino": "openvino"}
#: What belongs to a model file, by its suffix: OpenVINO's weights; the graph that an engine was built from.
BESIDE: Mapping[Target, str] = {"openvino": ".bin", "tensorrt": ".onnx", "tensorrt-rtx": ".onnx"}
TOOLS = ("edgestill", "onnx", "numpy")
RANGE_CHECK = "largest magnitude of each tensor, with headroom, against the end of FP16"

STOOD_IN = "needs the device: what is compared here is the graph, on ONNX Runtime"

#: Compares a built file with its source, given it and the source as FP32 ONNX; raises VerificationError.
Check = Callable[[Path, Path], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """What to build.

    Attributes:
        checkpoint: The weights, and the spec at the input size that is wanted.
        target: Whose file format.
        precision: What to compute in.
        calibration: Images for INT8's ranges; for FP16, to check its range on; not used for FP32.
        method: How INT8's ranges are found; None for what the family of engines is tuned to.
        trial: Images to choose that method on, in place of naming one.
        cache: Folder of statistics of earlier exports; None keeps none.
        engine: How to build an engine; not used for other files.
        form: How the file takes images and gives boxes.
    """

    checkpoint: Checkpoint
    target: Target
    precision: Precision
    calibration: Calibration | None = None
    method: Method | None = None
    trial: Trial | None = None
    cache: Path | None = None
    engine: EngineOptions = field(default_factory=EngineOptions)
    form: Form = field(default_factory=Form)

    @property
    def spec(self) -> ModelSpec:
        """The contract of the file, which is the checkpoint's in the form that is wanted."""
        return self.form.spec(self.checkpoint.spec)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exported:
    """What was published.

    Attributes:
        files: The model file first, then what belongs to it.
        manifest: The record of it, which lies beside it.
        record: Its content.
        doubts: What speaks against the file though it was published.
    """

    files: tuple[Path, ...]
    manifest: Path
    record: Manifest
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Variant:
    """A graph at one precision, and what its making depended on."""

    model: onnx.ModelProto
    calibration: dict[str, Any] | None = None


def export(job: Job, out: Path, name: str, *, check: Check, force: bool = False) -> Exported:
    """Build, prove, compare, publish. Nothing appears under its final name unless all of it went well.

    Args:
        job: What to build.
        out: Folder of the result.
        name: The files' name without suffix.
        check: Compares the file with its source.
        force: Whether files of that name may be replaced.

    Raises:
        ArtifactError: The checkpoint does not fit its spec.
        DeviceError: An engine was asked for that cannot be built here.
        UsageError: The result exists already, INT8 was asked for without images, or a file of the target
            cannot have the form.
        VerificationError: The file is of another precision, or differs too much from its source.
    """
    final = out / f"{name}{SUFFIX[job.target]}"
    beside = [final.with_suffix(BESIDE[job.target])] if job.target in BESIDE else []
    for path in (final, *beside, manifest_path(final)):
        refuse_overwrite(path, force=force)
    job.form.check(job.target, job.precision)
    place = _workplace(job)
    with _workshop(out) as folder:
        say(f"build {final.name}")
        source = build_onnx(job.checkpoint.spec, job.checkpoint.weights)
        source_path = folder / "source.onnx"
        source_path.write_bytes(source.SerializeToString(deterministic=True))
        variant = _at_precision(source, source_path, job)
        built = folder / "built" / final.name
        built.parent.mkdir()
        if place is None:
            _write(variant.model, job, built)
            record, judged = _record(job, built, variant.calibration), built
        else:
            record, judged = _engine(job, place, variant, built)
        files = _parts(built)
        record = replace(record, verify=check(judged, source_path))
        # The model file is last but for its manifest: who sees it sees its weights too.
        for path in [*reversed(files), write_manifest(built, record)]:
            path.replace(out / path.name)
    return Exported(
        files=tuple(out / p.name for p in files),
        manifest=manifest_path(final),
        record=record,
        doubts=() if place is None else _engine_doubts(place, record),
    )


@contextmanager
def _workshop(out: Path) -> Iterator[Path]:
    """A folder on the same disk as the result; a folder that was made for nothing goes away again."""
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".export-", dir=out))
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}", hint="name another --out") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        if is_new and not any(out.iterdir()):
            out.rmdir()


def _at_precision(source: onnx.ModelProto, source_path: Path, job: Job) -> _Variant:
    """The graph at the precision that was asked for."""
    if job.precision == "int8":
        return _int8(source, source_path, job)
    if job.precision == "fp16" and job.target != "openvino":
        return _fp16(source, job)
    return _Variant(source)  # OpenVINO halves the stored constants itself and computes as the device likes


def _int8(source: onnx.ModelProto, source_path: Path, job: Job) -> _Variant:
    if job.calibration is None:
        raise UsageError("INT8 needs images to calibrate on", hint="add --calib DATA.yaml")
    graph, family = Graph(source, job.checkpoint.spec.scale), FAMILY[job.target]
    watched = Watched(histograms=graph.to_watch(), means=graph.conv_inputs())
    seen = gathered(source, watched, job.calibration, job.cache)

    def make(method: Method) -> _Variant:
        tuned = replace(family, tuning=replace(family.tuning, method=method))
        return _Variant(*make_int8(source, graph, seen, tuned))

    def write(method: Method) -> Path:
        target: Target = "openvino" if job.target == "openvino" else "onnx"
        path = source_path.with_name(f"{method}{SUFFIX[target]}")
        _write(make(method).model, replace(job, target=target), path)
        return path

    method, tried = job.method or family.tuning.method, {}
    if job.trial is not None:
        method, tried["trial"] = choose_method(job.trial, source_path, write, family.tuning.method)
    made = make(method)
    return replace(made, calibration={**asdict(job.calibration.record), **tried, **(made.calibration or {})})


def _fp16(source: onnx.ModelProto, job: Job) -> _Variant:
    scale = job.checkpoint.spec.scale
    if job.calibration is None:
        return _Variant(to_half(source, scale, {}).model)
    watched = Watched(histograms=Graph(source, scale).to_watch())
    seen = gathered(source, watched, job.calibration, job.cache)
    made = to_half(source, scale, largest(seen))
    record = {**asdict(job.calibration.record), "method": RANGE_CHECK, "left_float": dict(made.kept)}
    return _Variant(made.model, record)


def _workplace(job: Job) -> Workplace | None:
    """Where an engine is built; None for other files."""
    if job.target == "tensorrt" or job.target == "tensorrt-rtx":  # noqa: PLR1714 (mypy narrows this form)
        return workplace(job.target, job.precision, job.engine)
    return None


def _engine(job: Job, place: Workplace, variant: _Variant, built: Path) -> tuple[Manifest, Path]:
    """Build an engine; its record, and the file to compare: the engine, or its graph where it cannot run."""
    graph = built.with_suffix(".onnx")
    graph.write_bytes(_reformed(variant.model, job).SerializeToString(deterministic=True))
    engine = make_engine(place, graph, job.precision, job.engine, built)
    with closing(open_backend(graph)) as backend:
        record = Manifest(
            spec=job.spec,
            format=job.target,
            files={built.name: sha256_file(built)},
            precision=job.precision,
            precision_proved={**engine.proved, "stored": stored_elements(graph)},
            inputs=backend.inputs,
            outputs=backend.outputs,
            built_with=_versions(place.family.replace("-", "_"), place.home.version),
            parent_sha256=job.checkpoint.sha256,
            calibration=variant.calibration,
            unproved=engine.unproved if engine.runs_here else {**engine.unproved, "verify": STOOD_IN},
            built_on=engine.built_on,
        )
    write_manifest(built, record)  # the runtime loads no engine without
    return record, built if engine.runs_here else graph


def _engine_doubts(place: Workplace, record: Manifest) -> tuple[str, ...]:
    found = [*place.doubts, *(f"{what} was not proved: {why}" for what, why in record.unproved.items())]
    fallbacks = (record.built_on or {})["dla_fallbacks"]
    if fallbacks:
        found.append(f"{len(fallbacks)} layers run on the GPU and not on the DLA: {', '.join(fallbacks[:8])}")
    return tuple(found)


def _write(model: onnx.ModelProto, job: Job, path: Path) -> None:
    model = _reformed(model, job)
    if job.target == "onnx":
        path.write_bytes(model.SerializeToString(deterministic=True))
        return
    from export.to_openvino import write_openvino  # noqa: PLC0415 (an ONNX file is made without it)

    metadata = job.form.metadata(job.checkpoint.spec)
    write_openvino(model, metadata, path, half=job.precision == "fp16")


def _reformed(model: onnx.ModelProto, job: Job) -> onnx.ModelProto:
    return reform(model, job.checkpoint.spec, job.form)


def _record(job: Job, built: Path, calibration: dict[str, Any] | None) -> Manifest:
    """Open what was built, prove its precision, and write down what it is."""
    package = BACKEND_PACKAGE[job.target]
    with closing(open_backend(built)) as backend:
        return Manifest(
            spec=job.spec,
            format=job.target,
            files={path.name: sha256_file(path) for path in _parts(built)},
            precision=job.precision,
            precision_proved=prove(built, backend, job.precision),
            inputs=backend.inputs,
            outputs=backend.outputs,
            built_with=_versions(package, import_module(package).__version__),
            parent_sha256=job.checkpoint.sha256,
            calibration=calibration,
        )


def _versions(package: str, version: str) -> dict[str, str]:
    return {**{tool: str(import_module(tool).__version__) for tool in TOOLS}, package: version}


def _parts(built: Path) -> list[Path]:
    """The model file first, then what belongs to it."""
    files = [path for path in built.parent.iterdir() if path != manifest_path(built)]
    return sorted(files, key=lambda path: path != built)
