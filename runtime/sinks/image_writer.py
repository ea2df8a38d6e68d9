"""Annotated image files: one, or a folder with one a frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.files import refuse_overwrite, write_bytes
from runtime.pipeline import FrameResult


class ImageSink:
    """Writes each picture to a file of its own; see ``runtime.pipeline.Sink``.

    Args:
        path: A file name with an image suffix, for one image; else a folder, where each picture gets the
            name of its source image.
        is_folder: Which of the two.
        force: Whether existing files may be replaced.
    """

    wants_picture = True

    def __init__(self, path: Path, *, is_folder: bool, force: bool) -> None:
        self._path, self._is_folder, self._force = path, is_folder, force
        self._files: list[Path] = []
        if not is_folder:
            refuse_overwrite(path, force=force)

    def write(self, result: FrameResult, picture: NDArray[np.uint8]) -> bool:
        """Write one picture."""
        target = self._path / result.frame.name if self._is_folder else self._path
        good, data = cv2.imencode(target.suffix, picture)
        if not good:
            raise ValueError(f"OpenCV cannot encode {target.suffix}")
        write_bytes(target, data.tobytes(), force=self._force)
        self._files.append(target)
        return True

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """Every file is whole already; those of a run that broke off stay, and are named."""
        return tuple(self._files)
