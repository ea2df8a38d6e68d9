"""A CSI camera of a Jetson: ``--source csi://0``. Not run on a Jetson by us."""

from __future__ import annotations

from edgestill.errors import DeviceError, UsageError
from runtime.decoders import gst_elements, gst_pipelines, path_choice
from runtime.sources._address import Address
from runtime.sources._live import LiveSource
from runtime.sources._reading import Reading

SOURCE_ELEMENT = "nvarguscamerasrc"
MODE = gst_pipelines.Mode(width=1280, height=720, fps=30)
MOST_DIGITS = 3


def open_frames(address: Address, reading: Reading) -> LiveSource:
    """Open a sensor by its number.

    Raises:
        UsageError: The number is none.
        DeviceError: GStreamer or NVIDIA's elements are missing, or the sensor does not start.
    """
    number = address.target
    if not number.isdecimal() or len(number) > MOST_DIGITS:
        raise UsageError(
            f"{address.shown} names no sensor", hint="use csi://0, or csi://1 for the second one"
        )
    if reading.decoder not in {None, path_choice.GSTREAMER}:
        raise UsageError(f"--decoder {reading.decoder} does not read csi://", hint="leave --decoder away")
    if not path_choice.this_machine().is_jetson and not gst_elements.has_element(SOURCE_ELEMENT):
        raise DeviceError(
            f"{address.shown} is a camera of a Jetson, and this machine is none",
            hint="for a USB camera use its number, or v4l2:///dev/video0",
        )
    options = address.options
    mode = gst_pipelines.Mode(
        width=options.width or MODE.width, height=options.height or MODE.height, fps=options.fps or MODE.fps
    )
    pipeline = gst_pipelines.csi(int(number), mode, options.flip)
    return LiveSource(
        lambda: path_choice.open_pipeline(pipeline, address.shown, is_live=True),
        address.shown,
        retry=reading.retry,
    )
