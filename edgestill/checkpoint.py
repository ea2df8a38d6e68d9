"""A trained model on disk, readable without torch: ``model.safetensors`` and ``spec.json`` in one folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import ArtifactError, missing_library
from edgestill.files import read_json, sha256_file, write_bytes, write_json
from edgestill.quantization import PREFIX, QuantizationScheme
from edgestill.spec import ModelSpec

WEIGHTS = "model.safetensors"
SPEC = "spec.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Weights, and what is needed to use them.

    Attributes:
        spec: Pre-processing, output layout and classes of the model.
        weights: Tensors by the original YOLOv5 state-dict name; float32 (stored as FP16 or FP32) or int64.
        about: How it was trained (recipe, data, scores), as JSON data without a fixed schema.
        scheme: Quantisation scales of quantisation-aware training; None without it.
        sha256: SHA-256 of the weights file, hexadecimal; empty before it is written.
    """

    spec: ModelSpec
    weights: Mapping[str, NDArray[Any]]
    about: Mapping[str, Any] = field(default_factory=dict)
    scheme: QuantizationScheme | None = None
    sha256: str = ""


def write_checkpoint(folder: Path, checkpoint: Checkpoint, *, half: bool = False) -> None:
    """Write ``model.safetensors`` and ``spec.json``.

    Args:
        folder: Where to write; created if needed.
        checkpoint: What to write.
        half: Whether float32 weights are stored as FP16; quantisation scales never are.

    Raises:
        DeviceError: safetensors is not installed.
    """
    try:
        from safetensors.numpy import save  # noqa: PLC0415
    except ImportError as error:
        raise missing_library("writing a checkpoint", "safetensors", "onnx") from error
    tensors = {
        # not ascontiguousarray, which would make scalars one-dimensional
        name: np.asarray(w.astype(np.float16) if half and w.dtype == np.float32 else w, order="C")
        for name, w in checkpoint.weights.items()
    }
    beside = {"spec": checkpoint.spec.to_json(), "about": dict(checkpoint.about)}
    if checkpoint.scheme is not None:
        tensors |= checkpoint.scheme.to_tensors()  # always float32
        beside["quantisation"] = checkpoint.scheme.to_json()
    write_bytes(folder / WEIGHTS, save(tensors))
    write_json(folder / SPEC, beside)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint folder; FP16 tensors come back as float32.

    Raises:
        ArtifactError: A file is missing or has another format.
        DataError: ``spec.json`` is not JSON.
        DeviceError: safetensors is not installed.
    """
    try:
        from safetensors.numpy import load_file  # noqa: PLC0415
    except ImportError as error:
        raise missing_library("reading a checkpoint", "safetensors", "onnx") from error
    path = folder / WEIGHTS
    if not path.is_file() or not (folder / SPEC).is_file():
        raise ArtifactError(
            f"{folder} is not a checkpoint: it needs {WEIGHTS} and {SPEC}",
            hint="give a folder that `edgestill distill` wrote, e.g. runs/x/best",
        )
    data = read_json(folder / SPEC, hint="train the model again")
    try:
        tensors = load_file(path)
    except Exception as error:  # safetensors raises its own, private error types
        raise ArtifactError(
            f"{path} is not a safetensors file: {error}", hint="copy the checkpoint again"
        ) from error
    if not (isinstance(data, dict) and "spec" in data and isinstance(data.get("about"), dict)):
        raise ArtifactError(f"{folder / SPEC} has no spec and about", hint="copy the checkpoint again")
    scales = {n: t for n, t in tensors.items() if n.startswith(PREFIX)}
    weights = {
        n: t.astype(np.float32) if t.dtype == np.float16 else t for n, t in tensors.items() if n not in scales
    }
    return Checkpoint(
        spec=ModelSpec.from_json(data["spec"]),
        weights=weights,
        about=data["about"],
        scheme=QuantizationScheme.from_parts(data["quantisation"], scales)
        if "quantisation" in data
        else None,
        sha256=sha256_file(path),
    )
