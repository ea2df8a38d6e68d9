"""Write the files of a target from a graph, prove their precision, and make the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import onnx

from edgestill.files import sha256_file
from edgestill.manifest import Manifest, manifest_path, write_manifest
from edgestill.target import Target, engine_target, without_bf16
from export.job import FileJob
from export.quantize.ort_fast_ops import use_fast_ops
from export.quantize.variant import Variant
from export.tensorrt.engine import BuildTarget, find_build_target, make_engine
from export.verify.precision_proof import Excluded, prove, stored_elements
from runtime.backend import open_backend

BACKEND_PACKAGE: Mapping[Target, str] = {"onnx": "onnxruntime", "openvino": "openvino"}
TOOLS = ("edgestill", "onnx", "numpy")
GRAPH_COMPARED = "needs the device: the graph was compared in its place, on ONNX Runtime"


def build_target_of(job: FileJob) -> BuildTarget | None:
    """The library and GPU for which an engine is built; None for other files.

    Raises:
        DeviceError: The engine cannot be built here.
        UsageError: The options contradict each other, or the target has no such precision.
    """
    if job.target == "openvino":
        return None
    precision, target = without_bf16(job.precision), engine_target(job.target)
    if target is None:
        return None
    job.fitted()  # refuses a wrong profile before anything is built
    return find_build_target(target, precision, job.engine)


def make_files(
    job: FileJob, build_target: BuildTarget | None, variant: Variant, built: Path, excluded: Excluded
) -> tuple[Manifest, Path]:
    """Write the files of a target, open them and prove their precision.

    Args:
        job: What to build.
        build_target: From ``build_target_of``.
        variant: The graph.
        built: Path of the model file, in a folder of its own.
        excluded: Layers at a higher precision on purpose.

    Returns:
        The manifest, and the file to compare with the source: the model file, or the graph of an engine that
        cannot run here.

    Raises:
        DeviceError: The engine's builder failed.
        VerificationError: The file has another precision.
    """
    if build_target is not None:
        return _engine(job, build_target, variant, built, excluded)
    write_graph(variant.model, job, built)
    return _record(job, built, variant.calibration, excluded), built


def _engine(
    job: FileJob, build_target: BuildTarget, variant: Variant, built: Path, excluded: Excluded
) -> tuple[Manifest, Path]:
    """Build an engine; returns its manifest and the file to compare, see ``make_files``."""
    graph = built.with_suffix(".onnx")
    fitted, profile = job.fitted()
    graph.write_bytes(fitted.finished(variant.model).SerializeToString(deterministic=True))
    engine = make_engine(
        build_target,
        graph,
        without_bf16(job.precision),
        job.engine,
        built,
        profile=profile,
        excluded=excluded.layers,
    )
    with closing(open_backend(graph)) as backend:
        record = Manifest(
            spec=job.spec,
            format=job.target,
            files={built.name: sha256_file(built)},
            precision=job.precision,
            precision_proved={**engine.proved, "stored": stored_elements(graph)},
            inputs=backend.inputs,
            outputs=backend.outputs,
            built_with=_versions(build_target.target.replace("-", "_"), build_target.home.version),
            parent_sha256=job.parent_sha256,
            calibration=variant.calibration,
            unproved=engine.unproved if engine.runs_here else {**engine.unproved, "verify": GRAPH_COMPARED},
            built_on=engine.built_on,
        )
    write_manifest(built, record)  # the runtime loads an engine only with its manifest
    return record, built if engine.runs_here else graph


def engine_doubts(build_target: BuildTarget, record: Manifest) -> tuple[str, ...]:
    """What is not proved about a built engine, as sentences."""
    found = [
        *build_target.doubts,
        *(f"{what} was not proved: {why}" for what, why in record.unproved.items()),
    ]
    fallbacks = (record.built_on or {})["dla_fallbacks"]
    if fallbacks:
        found.append(f"{len(fallbacks)} layers run on the GPU, not on the DLA: {', '.join(fallbacks[:8])}")
    return tuple(found)


def write_graph(model: onnx.ModelProto, job: FileJob, path: Path) -> None:
    """Write a graph as ONNX or as OpenVINO's two files."""
    model = job.finished(model)
    if job.target == "onnx":
        model = use_fast_ops(model) if job.precision == "int8" else model
        path.write_bytes(model.SerializeToString(deterministic=True))
        return
    from export.graph.openvino import write_openvino  # noqa: PLC0415 (not needed for an ONNX file)

    write_openvino(model, job.metadata, path, job.precision)


def _record(job: FileJob, built: Path, calibration: dict[str, Any] | None, excluded: Excluded) -> Manifest:
    """Open a built file, prove its precision, and make its manifest."""
    package = BACKEND_PACKAGE[job.target]
    with closing(open_backend(built)) as backend:
        return Manifest(
            spec=job.spec,
            format=job.target,
            files={path.name: sha256_file(path) for path in parts(built)},
            precision=job.precision,
            precision_proved=prove(built, backend, job.precision, excluded),
            inputs=backend.inputs,
            outputs=backend.outputs,
            built_with=_versions(package, import_module(package).__version__),
            parent_sha256=job.parent_sha256,
            calibration=calibration,
        )


def _versions(package: str, version: str) -> dict[str, str]:
    return {**{tool: str(import_module(tool).__version__) for tool in TOOLS}, package: version}


def parts(built: Path) -> list[Path]:
    """The files of a build but the manifest, the model file first."""
    files = [path for path in built.parent.iterdir() if path != manifest_path(built)]
    return sorted(files, key=lambda path: path != built)
