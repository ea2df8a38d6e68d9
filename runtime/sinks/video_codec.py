"""What all video encoders share: codecs, containers, and the time of frames in files of a constant rate."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

H264, MP4V = "h264", "mp4v"
#: Container formats of FFmpeg by suffix, which PyAV writes.
FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
KEY_FRAME_EVERY_S = 1.0  # a fragment begins with each: what a killed process loses
LONGEST_GAP_S = 2.0


class Encoder(Protocol):
    """Writes frames into one file.

    Attributes:
        codec: ``h264`` or ``mp4v``.
    """

    codec: str

    def write(self, image_bgr: NDArray[np.uint8], time_s: float) -> None:
        """Add a frame, uint8 ``[H, W, 3]`` BGR, that is shown from ``time_s`` seconds on.

        Raises:
            OSError: The file system took no more, as when the disk is full.
        """

    def close(self) -> None:
        """Write the end of the file.

        Raises:
            OSError: As ``write``.
        """


class ConstantRate:
    """Frames of any times as a constant number per second: some are repeated, some left out.

    Args:
        fps: Frames per second.
    """

    def __init__(self, fps: float) -> None:
        self._fps, self._written = fps, 0

    def times(self, time_s: float) -> int:
        """How often to write the frame of this time; a pause above ``LONGEST_GAP_S`` is shortened to it."""
        due = round(time_s * self._fps) + 1 - self._written
        count = min(max(due, 0), round(LONGEST_GAP_S * self._fps))
        self._written += count
        return count


def padded_to_even(image_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image with even sides, as H.264 in 4:2:0 has them: a last row or column is repeated."""
    height, width = image_bgr.shape[:2]
    if height % 2 or width % 2:
        padded = cv2.copyMakeBorder(image_bgr, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        return np.asarray(padded, np.uint8)
    return image_bgr
