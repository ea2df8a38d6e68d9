"""A Video4Linux camera by device file: ``--source v4l2:///dev/video0``."""

from pathlib import Path

import cv2

from edgestill.errors import DeviceError
from runtime.sources._capture import open_capture
from runtime.sources._live import LiveSource


def open_frames(text: str) -> LiveSource:
    """Open a camera.

    Raises:
        DeviceError: The device file is missing, or does not open.
    """
    device = text.removeprefix("v4l2://")
    capture = open_capture(device, cv2.CAP_V4L2) if Path(device).exists() else None
    if capture is None:
        what = "does not open" if Path(device).exists() else "does not exist"
        raise DeviceError(f"{device} {what}", hint="ls /dev/video*; is another program using it?")
    return LiveSource(capture, device, capture.get(cv2.CAP_PROP_FPS) or None)
