"""What a model file is: a JSON beside it that says where it came from and what was proved about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from edgestill.errors import ArtifactError, DataError
from edgestill.files import read_json, sha256_file, write_json
from edgestill.spec import ModelSpec, Precision, TensorSpec

SCHEMA = 1
ADDED = frozenset(
    {"unproved", "built_on", "repair", "recalibration"}
)  # fields that manifests written before them lack


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The record of one model file.

    Attributes:
        spec: The model's contract.
        format: ``"onnx"``, ``"openvino"``, ``"tensorrt"`` or ``"tensorrt-rtx"``.
        files: SHA-256 by file name, relative to the manifest's folder.
        precision: What was asked for.
        precision_proved: ``executed``: layers of the compiled model by data type, e.g.
            ``{"int8": 57, "float32": 4}``; ``planned``: the same as an engine's builder told it, where no
            device was there to read it from the engine; ``stored``: weight elements of the file by data type.
        inputs: The file's inputs.
        outputs: The file's outputs.
        built_with: Version by package.
        parent_sha256: The file that this one was made from: checkpoint weights, or the FP32 ONNX.
        calibration: The calibration record, for INT8: images by hash, split, pre-processing, method.
        verify: The comparison with the source, see ``export.verify.compare``.
        unproved: What could not be shown where the file was made, and what it needs, e.g. ``{"executed":
            "needs the device"}``.
        built_on: Of an engine: where it is valid, see ``runtime.tensorrt.engine_identity``.
        repair: What was moved to a higher precision because the file was beyond the limits without, and what
            that cost, see ``export.quantize.fallback``; None if nothing was.
        recalibration: Where the spec's map of scores comes from, see ``export.verify.score_calibration``;
            None for no map.
    """

    spec: ModelSpec
    format: str
    files: Mapping[str, str]
    precision: Precision
    precision_proved: Mapping[str, Mapping[str, int]]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    built_with: Mapping[str, str]
    parent_sha256: str
    calibration: Mapping[str, Any] | None = None
    verify: Mapping[str, Any] | None = None
    unproved: Mapping[str, str] = field(default_factory=dict)
    built_on: Mapping[str, Any] | None = None
    repair: Mapping[str, Any] | None = None
    recalibration: Mapping[str, Any] | None = None


def manifest_path(model: Path) -> Path:
    """Where the manifest of a model file lies: ``student.onnx`` -> ``student.onnx.manifest.json``."""
    return model.with_name(f"{model.name}.manifest.json")


def write_manifest(model: Path, manifest: Manifest) -> Path:
    """Write the manifest beside its model and return its path."""
    path = manifest_path(model)
    write_json(path, {"schema": SCHEMA, **asdict(manifest)})
    return path


def read_manifest(model: Path) -> Manifest | None:
    """The manifest beside a model file, or None if there is none.

    Raises:
        ArtifactError: It is not JSON, of another schema, or a field is missing or of another form.
    """
    path = manifest_path(model)
    if not path.exists():
        return None
    hint = "export the model again"
    try:
        data = read_json(path, hint=hint)
        odd = (set(data) - {"schema"}) ^ {f.name for f in fields(Manifest)}
        if data.pop("schema", None) != SCHEMA or odd - ADDED:
            raise ArtifactError(f"{path} is not a manifest of schema {SCHEMA}", hint=hint)
        data["spec"] = ModelSpec.from_json(data["spec"])
        for side in ("inputs", "outputs"):
            data[side] = tuple(
                TensorSpec(name=t["name"], shape=tuple(t["shape"]), dtype=t["dtype"]) for t in data[side]
            )
        data["files"] = dict(data["files"])
    except DataError as error:
        raise ArtifactError(error.what, hint=hint) from error
    except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ArtifactError(f"{path} is a broken manifest: {error!r}", hint=hint) from error
    return Manifest(**data)


def check_files(model: Path, manifest: Manifest) -> None:
    """Raise ArtifactError if a file that the manifest names is missing or altered, or the model is not named.

    That takes the time of a SHA-256: about a millisecond for each MiB, less on most machines.
    """
    beside = manifest_path(model).name
    hint = f"copy the files again or export the model again; if they were changed on purpose, remove {beside}"
    if outside := [name for name in manifest.files if Path(name).name != name]:
        raise ArtifactError(
            f"the manifest names a file outside its folder: {outside[0]}", hint="export the model again"
        )
    if model.name not in manifest.files:
        raise ArtifactError(
            f"{beside} is about {', '.join(manifest.files) or 'no file'}, not about {model.name}", hint=hint
        )
    for name, expected in manifest.files.items():
        path = model.parent / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing, which its manifest names", hint=hint)
        if (found := sha256_file(path)) != expected:
            raise ArtifactError(
                f"{path} is not the file that its manifest describes: its SHA-256 is {found[:12]}..., "
                f"not {str(expected)[:12]}...",
                hint=hint,
            )


def checked_manifest(model: Path) -> Manifest | None:
    """The manifest beside a model file, once its files are what it says; None if there is none.

    Raises:
        ArtifactError: See ``read_manifest`` and ``check_files``.
    """
    manifest = read_manifest(model)
    if manifest is not None:
        check_files(model, manifest)
    return manifest
