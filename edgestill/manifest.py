"""The manifest: a JSON file beside a model file with its origin, hashes and measured properties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from edgestill.errors import ArtifactError, DataError
from edgestill.files import read_json, sha256_file, write_json
from edgestill.spec import LightStateSpec, ModelSpec, TensorSpec, spec_from_json
from edgestill.target import FILE_PRECISIONS, FilePrecision

SCHEMA = 1
OPTIONAL_FIELDS = frozenset(
    {"unproved", "built_on", "repair", "recalibration"}
)  # added later: older manifests lack them


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The record of one model file.

    Attributes:
        spec: Pre-processing, output layout and classes of the model; of a classifier, what its output means.
        format: ``"onnx"``, ``"openvino"``, ``"tensorrt"`` or ``"tensorrt-rtx"``.
        files: SHA-256 by file name, relative to the manifest's folder.
        precision: The precision that was requested.
        precision_proved: Counts by data type, e.g. ``{"int8": 57, "float32": 4}``, under ``executed``: layers
            of the compiled model; ``planned``: layers as the engine builder reported them, where no device
            could load the engine; ``stored``: weight elements of the file.
        inputs: The file's inputs.
        outputs: The file's outputs.
        built_with: Version by package.
        parent_sha256: SHA-256 of the file that this one was made from: checkpoint weights, or the FP32 ONNX.
        calibration: The calibration record, for INT8: images by hash, split, pre-processing, method.
        verify: The comparison with the source, see ``export.verify.compare``.
        unproved: What could not be verified where the file was made, and what is needed for it, e.g.
            ``{"executed": "needs the device"}``.
        built_on: For an engine: where it is valid, see ``runtime.tensorrt.engine_identity``.
        repair: Blocks that were moved to a higher precision so that verification passes, and the cost, see
            ``export.quantize.fallback``; None if none were.
        recalibration: How the spec's ``score_map`` was fitted, see ``export.verify.score_calibration``; None
            without one.
    """

    spec: ModelSpec | LightStateSpec
    format: str
    files: Mapping[str, str]
    precision: FilePrecision
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
    """The path of a model file's manifest: ``student.onnx`` -> ``student.onnx.manifest.json``."""
    return model.with_name(f"{model.name}.manifest.json")


def write_manifest(model: Path, manifest: Manifest) -> Path:
    """Write the manifest beside its model; gives its path."""
    path = manifest_path(model)
    write_json(path, {"schema": SCHEMA, **asdict(manifest)})
    return path


def read_manifest(model: Path) -> Manifest | None:
    """The manifest beside a model file, or None if there is none.

    Raises:
        ArtifactError: It is not JSON, has another schema number, or a field is missing or has another type.
    """
    path = manifest_path(model)
    if not path.exists():
        return None
    hint = "export the model again"
    try:
        data = read_json(path, hint=hint)
        odd = (set(data) - {"schema"}) ^ {f.name for f in fields(Manifest)}
        if data.pop("schema", None) != SCHEMA or odd - OPTIONAL_FIELDS:
            raise ArtifactError(f"{path} is not a manifest of schema {SCHEMA}", hint=hint)
        if not isinstance(data["spec"], dict):
            raise TypeError(f"spec is {data['spec']!r}")  # noqa: TRY301 (one message with those below)
        data["spec"] = spec_from_json(data["spec"])
        for side in ("inputs", "outputs"):
            data[side] = tuple(
                TensorSpec(name=t["name"], shape=tuple(t["shape"]), dtype=t["dtype"]) for t in data[side]
            )
        data["files"] = dict(data["files"])
        has_bf16 = data["format"] == "openvino"
        if data["precision"] not in FILE_PRECISIONS or (data["precision"] == "bf16" and not has_bf16):
            raise ValueError(f"a {data['format']} file of the precision {data['precision']!r}")  # noqa: TRY301
    except DataError as error:
        raise ArtifactError(error.what, hint=hint) from error
    except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ArtifactError(f"{path} is a broken manifest: {error!r}", hint=hint) from error
    return Manifest(**data)


def check_files(model: Path, manifest: Manifest) -> None:
    """Compare the SHA-256 of every file of a manifest; about 1 ms per MiB.

    Raises:
        ArtifactError: A file is missing or altered, the model is not among the files, or a file is outside
            the folder of the manifest.
    """
    beside = manifest_path(model).name
    hint = f"copy the files again or export the model again; after an intended change, remove {beside}"
    if outside := [name for name in manifest.files if Path(name).name != name]:
        raise ArtifactError(
            f"the manifest lists a file outside its folder: {outside[0]}", hint="export the model again"
        )
    if model.name not in manifest.files:
        raise ArtifactError(
            f"{beside} lists {', '.join(manifest.files) or 'no file'}, but not {model.name}", hint=hint
        )
    for name, expected in manifest.files.items():
        path = model.parent / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing, but its manifest lists it", hint=hint)
        if (found := sha256_file(path)) != expected:
            raise ArtifactError(
                f"{path} is not the file that its manifest describes: its SHA-256 is {found[:12]}..., "
                f"not {str(expected)[:12]}...",
                hint=hint,
            )


def checked_manifest(model: Path) -> Manifest | None:
    """The manifest beside a model file, after ``check_files``; None if there is none.

    Raises:
        ArtifactError: See ``read_manifest`` and ``check_files``.
    """
    manifest = read_manifest(model)
    if manifest is not None:
        check_files(model, manifest)
    return manifest
