"""Model names on the command line: a file as it is, a checkpoint or `student` as an ONNX file made once."""

from __future__ import annotations

import os
from pathlib import Path

import edgestill
from edgestill.errors import ArtifactError

SHIPPED = Path(edgestill.__file__).parent / "weights"


def checkpoint_folder(name: str) -> Path:
    """The checkpoint behind a name: ``student`` and ``teacher`` are the shipped ones, else a path."""
    shipped = SHIPPED / name
    return shipped if name in {"student", "teacher"} and not Path(name).exists() else Path(name)


def resolve(name: str) -> Path:
    """A model file that a backend can open.

    A checkpoint folder becomes an FP32 ONNX in the user's cache, named by the hash of its weights and the
    version that wrote it, so that it is made once and never stale. torch is not needed for that.

    Raises:
        ArtifactError: The name is neither a file nor a checkpoint, or the checkpoint is broken.
    """
    path = checkpoint_folder(name)
    if path.suffix == ".pt":
        raise ArtifactError(
            f"{path} is a checkpoint of the original YOLOv5, not a model file",
            hint=f"edgestill export {path} --to onnx --precision fp32",
        )
    if not path.is_dir():
        return path
    from edgestill.checkpoint import read_checkpoint  # noqa: PLC0415
    from edgestill.files import write_bytes  # noqa: PLC0415
    from export.graph.yolov5 import build_onnx  # noqa: PLC0415

    checkpoint = read_checkpoint(path)
    key = f"{path.name}-{checkpoint.sha256[:16]}-{edgestill.__version__}"
    cached = cache_folder() / f"{key}.onnx"
    if not cached.exists():
        model = build_onnx(checkpoint.spec, checkpoint.weights)
        write_bytes(cached, model.SerializeToString(deterministic=True))
    return cached


def cache_folder() -> Path:
    """Where files are kept that can be made again, readable for this user only."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "edgestill"
    # Model files of others are refused elsewhere; nobody else may plant one here.
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
