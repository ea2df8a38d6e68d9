"""What a model file is: a JSON beside it that says where it came from and what was proved about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edgestill.errors import ArtifactError
from edgestill.files import read_json, sha256_file, write_json
from edgestill.spec import ModelSpec, Precision, TensorSpec

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The record of one model file.

    Attributes:
        spec: The model's contract.
        format: ``"onnx"`` or ``"openvino"``.
        files: SHA-256 by file name, relative to the manifest's folder.
        precision: What was asked for.
        precision_proved: ``executed``: layers of the compiled model by data type, e.g.
            ``{"int8": 57, "float32": 4}``; ``stored``: weight elements of the file by data type.
        inputs: The file's inputs.
        outputs: The file's outputs.
        built_with: Version by package.
        parent_sha256: The file that this one was made from: checkpoint weights, or the FP32 ONNX.
        calibration: The calibration record, for INT8: images by hash, split, pre-processing, method.
        verify: The comparison with the source, see ``export.verify``.
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
        ArtifactError: It is of another schema, or a field is missing.
        DataError: It is not JSON.
    """
    path = manifest_path(model)
    if not path.exists():
        return None
    data = read_json(path, hint="export the model again")
    if data.pop("schema", None) != SCHEMA or set(data) != {f.name for f in fields(Manifest)}:
        raise ArtifactError(f"{path} is not a manifest of schema {SCHEMA}", hint="export the model again")
    data["spec"] = ModelSpec.from_json(data["spec"])
    for side in ("inputs", "outputs"):
        data[side] = tuple(
            TensorSpec(name=t["name"], shape=tuple(t["shape"]), dtype=t["dtype"]) for t in data[side]
        )
    return Manifest(**data)


def check_files(model: Path, manifest: Manifest) -> None:
    """Raise ArtifactError if a file that the manifest names is missing or altered."""
    for name, expected in manifest.files.items():
        path = model.parent / name
        if Path(name).name != name:
            raise ArtifactError(
                f"the manifest names a file outside its folder: {name}", hint="export the model again"
            )
        if not path.exists() or sha256_file(path) != expected:
            raise ArtifactError(
                f"{path} is missing or not the file that its manifest describes",
                hint="export the model again",
            )
