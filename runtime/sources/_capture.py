"""OpenCV's video reader, without its habit of writing to stderr."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import cv2

FFMPEG_QUIET = "-8"
SILENT = 0


def open_capture(target: str | int, api: int, options: Sequence[int] = ()) -> Any | None:
    """Open a video or camera; None if OpenCV cannot.

    Args:
        target: File, URL, device path or camera number.
        api: One of OpenCV's ``CAP_*``; ``CAP_ANY`` tries all.
        options: Pairs of property and value.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", FFMPEG_QUIET)
    # The caller says in two lines what went wrong; OpenCV would say it once more, in ten.
    level = _set_log_level(SILENT)
    try:
        capture = cv2.VideoCapture(target, api, list(options))
    except cv2.error:
        return None
    finally:
        _set_log_level(level)
    return capture if capture.isOpened() else None


def _set_log_level(level: int) -> int:
    """Set OpenCV's log level; what it was. The function moved between OpenCV 4 and 5."""
    place = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2
    return int(place.setLogLevel(level))
