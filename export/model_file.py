"""The file that a backend opens for a model name: a file as it is, a checkpoint as an ONNX file made once."""

from __future__ import annotations

from pathlib import Path

import edgestill
from edgestill.cache import cache_folder
from edgestill.checkpoint import read_checkpoint
from edgestill.errors import ArtifactError, missing_library
from edgestill.files import write_bytes
from edgestill.shipped import checkpoint_folder


def resolve(name: str) -> Path:
    """The model file behind a path or the name of shipped weights.

    A checkpoint folder is converted to FP32 ONNX in the user's cache. The file is named by the SHA-256 of the
    weights and the version of edgestill, so that it is made once and never out of date. torch is not needed.

    Args:
        name: A model file, which need not exist; a checkpoint folder; ``student`` or ``teacher``, see
            ``edgestill.shipped``.

    Raises:
        ArtifactError: A folder is not a checkpoint, or the name is that of a PyTorch file (``.pt``).
        DeviceError: A checkpoint is to be converted, and safetensors or onnx is not installed.
    """
    path = checkpoint_folder(name)
    if path.suffix == ".pt":
        raise ArtifactError(
            f"{path} is a checkpoint of the original YOLOv5, not a model file",
            hint=f"edgestill export {path} --to onnx --precision fp32",
        )
    if not path.is_dir():
        return path
    checkpoint = read_checkpoint(path)
    cached = cache_folder() / f"{path.name}-{checkpoint.sha256[:16]}-{edgestill.__version__}.onnx"
    if not cached.exists():
        try:
            from export.graph.yolov5 import build_onnx  # noqa: PLC0415 (a model file is opened without onnx)
        except ImportError as error:
            raise missing_library(f"converting {path} to ONNX", error.name, "onnx") from error
        model = build_onnx(checkpoint.spec, checkpoint.weights)
        write_bytes(cached, model.SerializeToString(deterministic=True))
    return cached
