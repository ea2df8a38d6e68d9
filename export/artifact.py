"""From a graph to the files of a target, opened again, with the precision proved and all of it on record."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import onnx

from edgestill.files import sha256_file
from edgestill.manifest import Manifest, manifest_path, write_manifest
from edgestill.target import Target, engine_target
from export.graph.interface import reform
from export.job import Job
from export.quantize.ort_fast_ops import arrange
from export.quantize.variant import Variant
from export.tensorrt.engine import Workplace, make_engine, workplace
from export.tensorrt.profile import fit
from export.verify.precision_proof import Excluded, prove, stored_elements
from runtime.backend import open_backend

BACKEND_PACKAGE: Mapping[Target, str] = {"onnx": "onnxruntime", "openvino": "openvino"}
TOOLS = ("edgestill", "onnx", "numpy")
STOOD_IN = "needs the device: what is compared here is the graph, on ONNX Runtime"


def workplace_of(job: Job) -> Workplace | None:
    """Where an engine is built; None for other files."""
    target = engine_target(job.target)
    if target is None:
        return None
    fit(job.checkpoint.spec, job.form, job.engine)  # refuses a wrong profile before anything is built
    return workplace(target, job.precision, job.engine)


def make_files(
    job: Job, place: Workplace | None, variant: Variant, built: Path, moved: Excluded
) -> tuple[Manifest, Path]:
    """Write the files of a target, open them and prove their precision.

    Args:
        job: What to build.
        place: From ``workplace_of``.
        variant: The graph.
        built: The model file, in a folder of its own.
        moved: What the graph leaves out of the precision on purpose.

    Returns:
        The record, and the file to compare with the source: the model file, or the graph of an engine that
        cannot run here.

    Raises:
        DeviceError: The engine's builder failed.
        VerificationError: The file is of another precision.
    """
    if place is not None:
        return _engine(job, place, variant, built, moved)
    write_graph(variant.model, job, built)
    return _record(job, built, variant.calibration, moved), built


def _engine(
    job: Job, place: Workplace, variant: Variant, built: Path, moved: Excluded
) -> tuple[Manifest, Path]:
    """Build an engine; its record, and the file to compare: the engine, or its graph where it cannot run."""
    graph = built.with_suffix(".onnx")
    form, profile = fit(job.checkpoint.spec, job.form, job.engine)
    model = _reformed(variant.model, replace(job, form=form))
    graph.write_bytes(model.SerializeToString(deterministic=True))
    engine = make_engine(place, graph, job.precision, job.engine, built, profile=profile, moved=moved.layers)
    with closing(open_backend(graph)) as backend:
        record = Manifest(
            spec=job.spec,
            format=job.target,
            files={built.name: sha256_file(built)},
            precision=job.precision,
            precision_proved={**engine.proved, "stored": stored_elements(graph)},
            inputs=backend.inputs,
            outputs=backend.outputs,
            built_with=_versions(place.target.replace("-", "_"), place.home.version),
            parent_sha256=job.checkpoint.sha256,
            calibration=variant.calibration,
            unproved=engine.unproved if engine.runs_here else {**engine.unproved, "verify": STOOD_IN},
            built_on=engine.built_on,
        )
    write_manifest(built, record)  # the runtime loads no engine without
    return record, built if engine.runs_here else graph


def engine_doubts(place: Workplace, record: Manifest) -> tuple[str, ...]:
    """What speaks against an engine that was built."""
    found = [*place.doubts, *(f"{what} was not proved: {why}" for what, why in record.unproved.items())]
    fallbacks = (record.built_on or {})["dla_fallbacks"]
    if fallbacks:
        found.append(f"{len(fallbacks)} layers run on the GPU and not on the DLA: {', '.join(fallbacks[:8])}")
    return tuple(found)


def write_graph(model: onnx.ModelProto, job: Job, path: Path) -> None:
    """Write a graph in the job's form, as ONNX or as OpenVINO's two files."""
    model = _reformed(model, job)
    if job.target == "onnx":
        model = arrange(model) if job.precision == "int8" else model
        path.write_bytes(model.SerializeToString(deterministic=True))
        return
    from export.graph.openvino import write_openvino  # noqa: PLC0415 (an ONNX file is made without it)

    metadata = job.form.metadata(job.checkpoint.spec)
    write_openvino(model, metadata, path, half=job.precision == "fp16")


def _reformed(model: onnx.ModelProto, job: Job) -> onnx.ModelProto:
    return reform(model, job.checkpoint.spec, job.form)


def _record(job: Job, built: Path, calibration: dict[str, Any] | None, moved: Excluded) -> Manifest:
    """Open what was built, prove its precision, and write down what it is."""
    package = BACKEND_PACKAGE[job.target]
    with closing(open_backend(built)) as backend:
        return Manifest(
            spec=job.spec,
            format=job.target,
            files={path.name: sha256_file(path) for path in parts(built)},
            precision=job.precision,
            precision_proved=prove(built, backend, job.precision, moved),
            inputs=backend.inputs,
            outputs=backend.outputs,
            built_with=_versions(package, import_module(package).__version__),
            parent_sha256=job.checkpoint.sha256,
            calibration=calibration,
        )


def _versions(package: str, version: str) -> dict[str, str]:
    return {**{tool: str(import_module(tool).__version__) for tool in TOOLS}, package: version}


def parts(built: Path) -> list[Path]:
    """The model file first, then what belongs to it."""
    files = [path for path in built.parent.iterdir() if path != manifest_path(built)]
    return sorted(files, key=lambda path: path != built)
