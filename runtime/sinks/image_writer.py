"""Annotated image files: a single one, or a folder with one for each frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.files import refuse_overwrite, write_bytes
from runtime.pipeline import FrameResult


class ImageSink:
    """Writes each annotated frame to its own file; see ``runtime.pipeline.Sink``.

    Args:
        path: A file with an image suffix, or a folder in which each image has the name of its source image.
        is_folder: Whether ``path`` is a folder.
        force: Whether existing files are replaced.
    """

    needs_overlay = True

    def __init__(self, path: Path, *, is_folder: bool, force: bool) -> None:
        self._path, self._is_folder, self._force = path, is_folder, force
        self._files: list[Path] = []
        if not is_folder:
            refuse_overwrite(path, force=force)

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Encode and write one annotated frame."""
        target = self._path / result.frame.name if self._is_folder else self._path
        good, data = cv2.imencode(target.suffix, image_bgr)
        if not good:
            raise ValueError(f"OpenCV cannot encode {target.suffix}")
        write_bytes(target, data.tobytes(), force=self._force)
        self._files.append(target)
        return True

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """The files written so far; each is complete, so an interrupted run keeps them."""
        return tuple(self._files)
