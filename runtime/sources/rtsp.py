"""A network camera: ``--source rtsp://host/path``."""

import re

import cv2

from edgestill.errors import DeviceError
from runtime.sources._capture import open_capture
from runtime.sources._live import LiveSource

TIMEOUT_MS = 10_000


def open_frames(text: str) -> LiveSource:
    """Open a stream.

    Raises:
        DeviceError: It cannot be opened within ``TIMEOUT_MS``.
    """
    name = re.sub(r"//[^/@]*@", "//", text)  # keep passwords out of messages and logs
    timeouts = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS)
    capture = open_capture(text, cv2.CAP_FFMPEG, timeouts)
    if capture is None:
        raise DeviceError(f"{name} does not open", hint="test the address with ffplay")
    return LiveSource(
        capture,
        name,
        capture.get(cv2.CAP_PROP_FPS) or None,
        stamp_s=lambda: float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3,
    )
