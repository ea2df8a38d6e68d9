"""One export: build in a folder of its own, prove, compare, and publish only what passed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import onnx

from edgestill.checkpoint import Checkpoint
from edgestill.errors import UsageError
from edgestill.files import refuse_overwrite, sha256_file
from edgestill.manifest import Manifest, manifest_path, write_manifest
from edgestill.progress import say
from edgestill.spec import Precision
from export.calibrate import Calibration
from export.graph import build_onnx
from export.half import to_half
from export.placement import MIN_SIGNAL_DB, Graph, Placement, for_onnxruntime, for_openvino
from export.precision import prove
from export.quantize import quantise
from export.ranges import WIDEN
from export.statistics import gather
from runtime.backend import open_backend

Target = Literal["onnx", "openvino"]
SUFFIX: Mapping[Target, str] = {"onnx": ".onnx", "openvino": ".xml"}
PLACEMENT: Mapping[Target, Placement] = {"onnx": for_onnxruntime, "openvino": for_openvino}
BACKEND_PACKAGE: Mapping[Target, str] = {"onnx": "onnxruntime", "openvino": "openvino"}
TOOLS = ("edgestill", "onnx", "numpy")
METHOD = (
    f"activations u8 asymmetric per tensor, widest range within {WIDEN} x least squared error, float below "
    f"{MIN_SIGNAL_DB:.0f} dB; weights s8 per channel, bias corrected by input means; detection outputs float"
)
RANGE_CHECK = "largest magnitude of each tensor, with headroom, against the end of FP16"

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
    """

    checkpoint: Checkpoint
    target: Target
    precision: Precision
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exported:
    """What was published.

    Attributes:
        files: The model file first, then what belongs to it.
        manifest: The record of it, which lies beside it.
        record: Its content.
    """

    files: tuple[Path, ...]
    manifest: Path
    record: Manifest


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
        UsageError: The result exists already, or INT8 was asked for without images.
        VerificationError: The file is of another precision, or differs too much from its source.
    """
    final = out / f"{name}{SUFFIX[job.target]}"
    for path in (final, final.with_suffix(".bin"), manifest_path(final)):
        if path.suffix != ".bin" or job.target == "openvino":
            refuse_overwrite(path, force=force)
    with _workshop(out) as folder:
        say(f"build {final.name}")
        source = build_onnx(job.checkpoint.spec, job.checkpoint.weights)
        source_path = folder / "source.onnx"
        source_path.write_bytes(source.SerializeToString(deterministic=True))
        variant = _at_precision(source, job)
        built = folder / "built" / final.name
        built.parent.mkdir()
        _write(variant.model, job, built)
        files = _parts(built)
        record = _record(job, built, variant.calibration)
        record = replace(record, verify=check(built, source_path))
        # The model file is last but for its manifest: who sees it sees its weights too.
        for path in [*reversed(files), write_manifest(built, record)]:
            path.replace(out / path.name)
    return Exported(files=tuple(out / p.name for p in files), manifest=manifest_path(final), record=record)


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


def _at_precision(source: onnx.ModelProto, job: Job) -> _Variant:
    """The graph at the precision that was asked for."""
    if job.precision == "int8":
        return _int8(source, job)
    if job.precision == "fp16" and job.target == "onnx":
        return _fp16(source, job)
    return _Variant(source)  # OpenVINO halves the stored constants itself and computes as the device likes


def _int8(source: onnx.ModelProto, job: Job) -> _Variant:
    if job.calibration is None:
        raise UsageError("INT8 needs images to calibrate on", hint="add --calib DATA.yaml")
    graph = Graph(source, job.checkpoint.spec.scale)
    seen = gather(source, job.calibration.tensors(), histograms=graph.to_watch(), means=graph.conv_inputs())
    plan = PLACEMENT[job.target](graph, seen)
    record = {**asdict(job.calibration.record), "method": METHOD, "left_float": dict(plan.left_float)}
    return _Variant(quantise(source, plan, seen.channel_means), record)


def _fp16(source: onnx.ModelProto, job: Job) -> _Variant:
    scale = job.checkpoint.spec.scale
    if job.calibration is None:
        return _Variant(to_half(source, scale, {}).model)
    graph = Graph(source, scale)
    seen = gather(source, job.calibration.tensors(), histograms=graph.to_watch(), means=())
    made = to_half(source, scale, {n: max(-h.low, h.high) for n, h in seen.histograms.items()})
    record = {**asdict(job.calibration.record), "method": RANGE_CHECK, "left_float": dict(made.kept)}
    return _Variant(made.model, record)


def _write(model: onnx.ModelProto, job: Job, path: Path) -> None:
    if job.target == "onnx":
        path.write_bytes(model.SerializeToString(deterministic=True))
        return
    from export.to_openvino import write_openvino  # noqa: PLC0415 (an ONNX file is made without it)

    write_openvino(model, job.checkpoint.spec, path, half=job.precision == "fp16")


def _record(job: Job, built: Path, calibration: dict[str, Any] | None) -> Manifest:
    """Open what was built, prove its precision, and write down what it is."""
    with closing(open_backend(built)) as backend:
        return Manifest(
            spec=job.checkpoint.spec,
            format=job.target,
            files={path.name: sha256_file(path) for path in _parts(built)},
            precision=job.precision,
            precision_proved=prove(built, backend, job.precision),
            inputs=backend.inputs,
            outputs=backend.outputs,
            built_with={p: import_module(p).__version__ for p in (*TOOLS, BACKEND_PACKAGE[job.target])},
            parent_sha256=job.checkpoint.sha256,
            calibration=calibration,
        )


def _parts(built: Path) -> list[Path]:
    """The model file first, then what belongs to it."""
    return sorted(built.parent.iterdir(), key=lambda path: path != built)
