"""Video files, decoded by OpenCV with FFmpeg."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from edgestill.errors import DataError
from runtime.frames import Frame
from runtime.sources._capture import open_capture

UNKNOWN_FPS = 30.0  # assumed for files without a valid frame rate


class VideoFile:
    """All frames of a video file; see ``runtime.frames.FrameSource``."""

    is_live = False
    dropped = 0

    def __init__(self, path: Path, capture: Any) -> None:
        self._path, self._capture = path, capture
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps: float | None = fps if 0 < fps < 1000 else UNKNOWN_FPS
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.total = count if count > 0 else None

    def frames(self) -> Iterator[Frame]:
        """Yield the frames up to the last one that can be decoded; DataError if there is none."""
        index = 0
        while self._capture is not None:
            start = perf_counter()
            good, image = self._capture.read()
            captured_s = perf_counter()
            if not good:
                break
            yield Frame(
                image_bgr=np.asarray(image, np.uint8),
                index=index,
                captured_s=captured_s,
                name=self._path.name,
                decode_ms=(captured_s - start) * 1e3,
                time_s=index / (self.fps or UNKNOWN_FPS),
            )
            index += 1
        if index == 0:
            raise DataError(f"{self._path} has no frame that can be decoded", hint="play it with ffplay")

    def close(self) -> None:
        """Close the file."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def open_frames(text: str) -> VideoFile:
    """Open a video file.

    Raises:
        DataError: It is missing, truncated, or not a video that OpenCV can decode.
    """
    path = Path(text)
    if not path.is_file():
        raise DataError(f"{path} does not exist", hint="check the path of the source")
    capture = open_capture(str(path), cv2.CAP_FFMPEG)
    if capture is None:
        raise DataError(
            f"{path} is not a video that OpenCV can decode, or it is truncated ({path.stat().st_size} bytes)",
            hint="copy the file again, or test it with ffplay",
        )
    return VideoFile(path, capture)
