"""OpenCV's video reader, without its messages on stderr."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.verbosity import is_verbose
from runtime.array_pool import ArrayPool
from runtime.decoders.reader import Grabbed

FFMPEG_QUIET, FFMPEG_INFO = "-8", "32"
SILENT, INFO = 0, 4
NAMES = {
    cv2.CAP_FFMPEG: "OpenCV (FFmpeg)",
    cv2.CAP_GSTREAMER: "OpenCV (GStreamer)",
    cv2.CAP_V4L2: "OpenCV (V4L2)",
}
MOST_BAD = 100  # frames in a row that cannot be decoded, after which a camera counts as gone
#: The kernel's stamp is the time of capture if it is on the clock of ``perf_counter``, and so old at most.
LARGEST_DELAY_S = 1.0


def open_capture(target: str | int, api: int, options: Sequence[int] = ()) -> Any | None:
    """Open a video or camera with ``cv2.VideoCapture``; None if that fails.

    Args:
        target: File, URL, device path or camera number.
        api: One of OpenCV's ``CAP_*``; ``CAP_ANY`` tries all.
        options: Property, value, property, value, ...
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", FFMPEG_INFO if is_verbose() else FFMPEG_QUIET)
    # The caller raises an error of its own, so OpenCV's warnings would only repeat it.
    level = _set_log_level(INFO if is_verbose() else SILENT)
    try:
        capture = cv2.VideoCapture(target, api, list(options))
    except cv2.error:
        return None
    finally:
        _set_log_level(level)
    return capture if capture.isOpened() else None


def has_gstreamer() -> bool:
    """Whether this OpenCV was built with GStreamer; the wheels on PyPI are not."""
    lines = (line.split() for line in cv2.getBuildInformation().splitlines())
    return any(words[:2] == ["GStreamer:", "YES"] for words in lines)


class OpencvReader:
    """A ``cv2.VideoCapture``; see ``runtime.decoders.reader.Reader``.

    Args:
        capture: The opened capture.
        api: The ``CAP_*`` that it was opened with.
        is_live: Whether it is a camera: a frame that cannot be decoded then does not end it.
        has_stamps: Whether the position is a time stamp of the stream.
    """

    def __init__(self, capture: Any, api: int, *, is_live: bool, has_stamps: bool = True) -> None:
        self.decoder = NAMES.get(api, "OpenCV")
        fps, count = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.fps: float | None = fps if 0 < fps < 1000 else None
        self.total: int | None = count if count > 0 and not is_live else None
        self.failed = 0
        self._capture, self._is_live = capture, is_live
        self._has_stamps = has_stamps and api != cv2.CAP_V4L2
        self._has_kernel_times = api == cv2.CAP_V4L2
        self._pool = ArrayPool()
        self._shape: tuple[int, ...] | None = None

    def grab(self) -> Grabbed | None:
        """See ``Reader``."""
        for _ in range(MOST_BAD if self._is_live else 1):
            if self._capture is None or not self._capture.grab():
                return None
            arrived_s = perf_counter()
            image = self._retrieve()
            if image is not None:
                return Grabbed(
                    to_bgr=partial(_same, image),
                    captured_s=self._captured_s(arrived_s),
                    stamp_s=self._position_s() if self._has_stamps else None,
                    decode_ms=(perf_counter() - arrived_s) * 1e3,
                )
            self.failed += self._is_live
        return None

    def stop(self) -> None:
        """Do nothing: OpenCV's reader cannot be interrupted."""

    def close(self) -> None:
        """See ``Reader``."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _retrieve(self) -> NDArray[np.uint8] | None:
        # OpenCV writes into an array of the right size, and makes a new one otherwise.
        room = None if self._shape is None else self._pool.take(self._shape)
        good, image = self._capture.retrieve(room)
        if not good or image is None:
            return None
        self._shape = image.shape
        return np.asarray(image, np.uint8)

    def _position_s(self) -> float:
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3

    def _captured_s(self, arrived_s: float) -> float:
        """When the frame was captured: by the kernel's stamp where there is one, else at its arrival."""
        if self._has_kernel_times and 0 <= arrived_s - (stamp_s := self._position_s()) <= LARGEST_DELAY_S:
            return stamp_s
        return arrived_s


def _same(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image


def _set_log_level(level: int) -> int:
    """Set OpenCV's log level and return the previous one. The function moved between OpenCV 4 and 5."""
    module = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2
    return int(module.setLogLevel(level))
