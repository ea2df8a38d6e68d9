"""OpenCV's video reader, without its messages on stderr."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import cv2

from edgestill.verbosity import is_verbose

FFMPEG_QUIET, FFMPEG_INFO = "-8", "32"
SILENT, INFO = 0, 4


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


def _set_log_level(level: int) -> int:
    """Set OpenCV's log level and return the previous one. The function moved between OpenCV 4 and 5."""
    module = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2
    return int(module.setLogLevel(level))
