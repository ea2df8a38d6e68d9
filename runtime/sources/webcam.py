"""A camera by number: ``--source 0``."""

from __future__ import annotations

from functools import partial

import cv2

from edgestill.errors import DeviceError, UsageError
from runtime.decoders.opencv_reader import OpencvReader, open_capture
from runtime.decoders.reader import Reader
from runtime.sources._address import Address, Options
from runtime.sources._live import LiveSource
from runtime.sources._reading import Reading
from runtime.sources._v4l2_formats import refuse_bayer
from runtime.sources.v4l2 import HINT, capture_options

MOST_DIGITS = 9  # OpenCV takes a number of 32 bits


def open_frames(address: Address, reading: Reading) -> LiveSource:
    """Open a camera.

    Raises:
        DeviceError: There is no camera of that number, it is in use, or it is a CSI sensor.
    """
    if reading.decoder not in {None, "opencv"}:
        hint = f"leave --decoder away, or use v4l2:///dev/video{address.target}"
        raise UsageError(f"--decoder {reading.decoder} does not read a camera number", hint=hint)
    connect = partial(_connect, address.target, address.options)
    return LiveSource(connect, address.shown, retry=reading.retry, flip=address.options.flip)


def _connect(number: str, options: Options) -> Reader:
    refuse_bayer(f"/dev/video{int(number)}" if len(number) <= MOST_DIGITS else "")
    capture = (
        open_capture(int(number), cv2.CAP_ANY, capture_options(options))
        if len(number) <= MOST_DIGITS
        else None
    )
    if capture is None:
        raise DeviceError(f"camera {number} does not open", hint=HINT)
    is_v4l2 = capture.getBackendName() == "V4L2"
    return OpencvReader(capture, cv2.CAP_V4L2 if is_v4l2 else cv2.CAP_ANY, is_live=True, has_stamps=False)
