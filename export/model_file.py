"""The file that a backend opens for a model name: a file as it is, a checkpoint as an ONNX file made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import edgestill
from edgestill.cache import cache_folder
from edgestill.checkpoint import Checkpoint, read_checkpoint
from edgestill.errors import ArtifactError, missing_library
from edgestill.files import sha256_file, write_bytes
from edgestill.shipped import checkpoint_folder


def resolve(name: str, read_pt: Callable[[Path], Checkpoint] | None = None) -> Path:
    """The model file behind a path or the name of shipped weights.

    A checkpoint folder is converted to FP32 ONNX in the user's cache. The file is named by the SHA-256 of the
    weights and the version of edgestill, so that it is made once and never out of date. torch is not needed.

    Args:
        name: A model file, which need not exist; a checkpoint folder; ``student`` or ``teacher``, see
            ``edgestill.shipped``.
        read_pt: Reads an original YOLOv5 ``.pt`` file, which is then converted, too; None refuses it.

    Raises:
        ArtifactError: A folder is not a checkpoint, or a ``.pt`` file does not exist, or is named without
            ``read_pt``.
        DeviceError: A checkpoint is to be converted, and safetensors or onnx is not installed.
    """
    path = checkpoint_folder(name)
    if path.suffix == ".pt" and read_pt is not None and path.is_file():
        return _converted(path, sha256_file(path), lambda: read_pt(path))
    if path.suffix == ".pt" and not path.exists():
        raise ArtifactError(f"{path} does not exist", hint="name a checkpoint, a model file, or `student`")
    if path.suffix == ".pt":
        raise ArtifactError(
            f"{path} is a checkpoint of the original YOLOv5, not a model file",
            hint=f"edgestill export {path} --to onnx --precision fp32",
        )
    if not path.is_dir():
        return path
    checkpoint = read_checkpoint(path)
    return _converted(path, checkpoint.sha256, lambda: checkpoint)


def _converted(path: Path, sha256: str, read: Callable[[], Checkpoint]) -> Path:
    """The FP32 ONNX file of a checkpoint in the cache, made if it is not there."""
    cached = cache_folder() / f"{path.stem}-{sha256[:16]}-{edgestill.__version__}.onnx"
    if not cached.exists():
        checkpoint = read()
        try:
            from export.graph.yolov5 import build_onnx  # noqa: PLC0415 (a model file is opened without onnx)
        except ImportError as error:
            raise missing_library(f"converting {path} to ONNX", error.name, "onnx") from error
        model = build_onnx(checkpoint.spec, checkpoint.weights)
        write_bytes(cached, model.SerializeToString(deterministic=True))
    return cached
