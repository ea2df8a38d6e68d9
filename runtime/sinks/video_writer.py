"""An annotated MP4 file, complete or absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DataError, DeviceError
from edgestill.files import refuse_overwrite, temporary_beside
from runtime.pipeline import FrameResult

CODEC = "mp4v"
LONGEST_GAP_S = 2.0  # a longer pause of a live source is shortened to this


class VideoSink:
    """Writes annotated frames into an MP4 file at the source's frame rate; see ``runtime.pipeline.Sink``.

    Args:
        path: The file; a temporary file beside it is renamed at the end of a complete run.
        fps: Frames per second.
        force: Whether an existing file is replaced.
    """

    needs_overlay = True

    def __init__(self, path: Path, fps: float, *, force: bool) -> None:
        refuse_overwrite(path, force=force)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._fps = path, fps
        self._temporary = temporary_beside(path)
        self._writer: Any = None
        self._hw: tuple[int, ...] = ()
        self._written = 0

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Add a frame; of a live source it is repeated to fill the time of dropped frames.

        Raises:
            DataError: The frame has another size than the first.
            DeviceError: OpenCV cannot write video.
        """
        if self._writer is None:
            self._open(image_bgr)
        if image_bgr.shape[:2] != self._hw:
            raise DataError(
                f"{result.frame.name} is {image_bgr.shape[1]}x{image_bgr.shape[0]}, "
                f"the video began with {self._hw[1]}x{self._hw[0]}",
                hint="save images of different sizes into a folder",
            )
        for _ in range(self._repeats(result)):
            self._writer.write(image_bgr)
            self._written += 1
        return True

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """Finish the file, or remove the temporary one."""
        if self._writer is not None:
            self._writer.release()
        if complete and self._written:
            self._temporary.replace(self._path)
            return (self._path,)
        self._temporary.unlink(missing_ok=True)
        return ()

    def _open(self, image_bgr: NDArray[np.uint8]) -> None:
        height, width = self._hw = image_bgr.shape[:2]
        fourcc = cv2.VideoWriter.fourcc(*CODEC)
        self._writer = cv2.VideoWriter(str(self._temporary), fourcc, self._fps, (width, height))
        if not self._writer.isOpened():
            raise DeviceError(f"this OpenCV cannot write {CODEC} video", hint="pip install opencv-python")

    def _repeats(self, result: FrameResult) -> int:
        if not result.is_live:
            return 1
        due = round(result.frame.time_s * self._fps) + 1 - self._written
        return min(max(due, 0), round(LONGEST_GAP_S * self._fps))
