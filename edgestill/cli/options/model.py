"""Model files and checkpoints by their names on the command line; YOLOv5's ``.pt`` files need torch."""

from __future__ import annotations

from pathlib import Path

from edgestill.checkpoint import Checkpoint
from edgestill.errors import missing_library


def model_file(name: str) -> Path:
    """The file that a backend opens for MODEL, see ``export.model_file.resolve``."""
    from export.model_file import resolve  # noqa: PLC0415

    return resolve(name, read_pt)


def read_pt(path: Path) -> Checkpoint:
    """The weights in an original YOLOv5 ``.pt`` file, read without running code from it.

    Raises:
        ArtifactError: It is broken, or not a detector of that family.
        DeviceError: torch is not installed.
    """
    try:
        from distill.checkpoints.yolov5_pt import load_yolov5_pt  # noqa: PLC0415 (brings torch)
    except ImportError as error:
        raise missing_library(f"reading {path}", error.name, "train") from error
    return load_yolov5_pt(path)
