"""A camera by number: ``--source 0``."""

import cv2

from edgestill.errors import DeviceError
from runtime.sources._capture import open_capture
from runtime.sources._live import LiveSource

MOST_DIGITS = 9  # OpenCV takes a number of 32 bits


def open_frames(text: str) -> LiveSource:
    """Open a camera.

    Raises:
        DeviceError: There is no camera of that number, or it is in use.
    """
    capture = open_capture(int(text), cv2.CAP_ANY) if len(text) <= MOST_DIGITS else None
    if capture is None:
        raise DeviceError(f"camera {text} does not open", hint="ls /dev/video*; is another program using it?")
    return LiveSource(capture, f"camera {text}", capture.get(cv2.CAP_PROP_FPS) or None)
