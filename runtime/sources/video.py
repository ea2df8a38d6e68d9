"""Video files, decoded by OpenCV with FFmpeg."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from edgestill.errors import DataError
from edgestill.files import is_utf8
from runtime.frames import NO_DROPS, Frame
from runtime.sources._capture import open_capture
from runtime.sources._missing import missing_source, refuse_model
from runtime.sources._stamps import StampClock

UNKNOWN_FPS = 30.0  # assumed for files without a valid frame rate
#: A file broke off if more is missing at its end than this share of it, and than so many frames. Containers
#: round their length, and some count frames that no decoder gives.
MISSING_SHARE, MISSING_FRAMES = 0.05, 3
#: Containers that count their frames; of others OpenCV computes the number.
COUNTED = frozenset({".mp4", ".m4v", ".mov", ".avi", ".gif"})


class VideoFile:
    """All frames of a video file, rotated as its metadata say; see ``runtime.frames.FrameSource``."""

    is_live = False
    dropped = 0
    drops = NO_DROPS

    def __init__(self, path: Path, capture: Any) -> None:
        self._path, self._capture = path, capture
        fps = capture.get(cv2.CAP_PROP_FPS)
        self._fps = fps if 0 < fps < 1000 else UNKNOWN_FPS
        self.fps: float | None = self._fps
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.total = count if count > 0 else None
        self.broke_off: str | None = None
        self._lost = 0
        self._clock = StampClock(1 / self._fps)

    @property
    def doubts(self) -> list[str]:
        """What was unusual so far."""
        found = self._clock.doubts()
        if self._lost:
            found.append(f"{self._lost} of {self.total} frames could not be decoded")
        return [f"{self._path}: {doubt}" for doubt in found]

    def frames(self) -> Iterator[Frame]:
        """Yield the frames up to the last one that can be decoded; DataError if there is none."""
        index, time_s = 0, 0.0
        while self._capture is not None:
            start = perf_counter()
            good, image = self._capture.read()
            captured_s = perf_counter()
            if not good:
                self.broke_off = self._missing(index, time_s)
                if self.broke_off is None and self._path.suffix.lower() in COUNTED:
                    self._lost = max((self.total or 0) - index, 0)
                break
            time_s = self._clock.time_s(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
            yield Frame(
                image_bgr=np.asarray(image, np.uint8),
                index=index,
                captured_s=captured_s,
                name=self._path.name,
                decode_ms=(captured_s - start) * 1e3,
                time_s=time_s,
            )
            index += 1
        if index == 0:
            raise DataError(f"{self._path} has no frame that can be decoded", hint="play it with ffplay")

    def close(self) -> None:
        """Close the file."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _missing(self, frames: int, last_s: float) -> str | None:
        """What is said of a file that ended after so many frames, the last at ``last_s`` seconds."""
        # The count alone is no proof: without an index, OpenCV computes it as length times mean rate.
        if self.total is None or frames >= self.total:
            return None
        length_s = self.total / self._fps
        missing_s = length_s - (last_s + 1 / self._fps)
        if missing_s <= max(MISSING_SHARE * length_s, MISSING_FRAMES / self._fps):
            return None
        return (
            f"{self._path} breaks off after {last_s:.1f} of {length_s:.1f} s: "
            f"{frames} of {self.total} frames could be decoded"
        )


def open_frames(text: str) -> VideoFile:
    """Open a video file.

    Raises:
        DataError: It is missing, truncated, or not a video that OpenCV can decode.
    """
    path = Path(text)
    if not path.is_file():
        raise missing_source(text)
    refuse_model(path)
    if not is_utf8(path):
        raise DataError(f"{text!a} is not a name in UTF-8, which OpenCV needs", hint="rename the file")
    # Absolute, because FFmpeg takes the start of "12:30.mp4" for the scheme of a URL.
    capture = open_capture(str(path.absolute()), cv2.CAP_FFMPEG)
    if capture is None:
        raise DataError(
            f"{path} is not a video that OpenCV can decode, or it is truncated ({path.stat().st_size} bytes)",
            hint="copy the file again, or test it with ffplay",
        )
    return VideoFile(path, capture)
