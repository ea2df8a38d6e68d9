"""Pixel formats of a Video4Linux device, by its ioctl.

Source: https://docs.kernel.org/userspace-api/media/v4l/vidioc-enum-fmt.html
"""

from __future__ import annotations

import fcntl
import os
import re
import struct

from edgestill.errors import DeviceError

VIDIOC_ENUM_FMT = 0xC0405602  # _IOWR('V', 2, struct v4l2_fmtdesc)
CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
_FMTDESC = struct.Struct("=3I32s4s4I")  # index, type, flags, description, pixelformat, mbus_code, reserved
MOST_FORMATS = 64
#: Raw values of a sensor, in 8 to 16 bits, plain, packed or compressed, in the four orders of colours.
_BAYER = re.compile(
    r"BA81|GBRG|GRBG|RGGB|BYR2|[BGR][GAB]1[0246]|[BG]A1[0246]|p[BGgR][A-Z]{2}|[abcde][BGgR]A[0-9A-Z]"
)


def pixel_formats(device: str) -> list[str]:
    """The formats that a camera sends, as four characters each; empty if the device does not tell."""
    found: list[str] = []
    try:
        handle = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return found
    try:
        for index in range(MOST_FORMATS):
            asked = _FMTDESC.pack(index, CAPTURE, 0, b"", b"", 0, 0, 0, 0)
            answer = fcntl.ioctl(handle, VIDIOC_ENUM_FMT, asked)
            found.append(_FMTDESC.unpack(answer)[4].decode("ascii", "replace"))
    except OSError:  # EINVAL: that was the last one
        return found
    finally:
        os.close(handle)
    return found


def refuse_bayer(device: str) -> None:
    """Raise DeviceError for a CSI sensor, whose device file gives raw values of the sensor and no picture."""
    formats = pixel_formats(device)
    if formats and all(_BAYER.fullmatch(name) for name in formats):
        number = re.search(r"\d+$", device)
        raise DeviceError(
            f"{device} is a CSI sensor: it gives only raw Bayer data ({', '.join(formats)})",
            hint=f"use csi://{number[0] if number else 0}, which goes through the image signal processor",
        )
