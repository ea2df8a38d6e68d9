"""Which decoder reads which kind of source on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2

from devices.jetson import read_jetson
from edgestill.errors import DeviceError, UsageError
from runtime.decoders.gst_elements import has_element, has_gst_launch, require_elements
from runtime.decoders.gst_pipelines import elements, for_opencv
from runtime.decoders.gst_process import GstReader
from runtime.decoders.opencv_reader import OpencvReader, has_gstreamer, open_capture
from runtime.decoders.pyav_reader import has_pyav
from runtime.decoders.reader import Reader

PYAV, OPENCV, GSTREAMER = "pyav", "opencv", "gstreamer"
DECODERS = (PYAV, OPENCV, GSTREAMER)
#: The hardware decoder of a Jetson.
NV_DECODER = "nvv4l2decoder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What this machine can decode with.

    Attributes:
        is_jetson: Whether it is a Jetson.
        has_pyav: Whether PyAV is installed.
        has_gstreamer: Whether GStreamer can be used: by OpenCV, or as a program.
        has_nv_decoder: Whether GStreamer has the hardware decoder of a Jetson.
    """

    is_jetson: bool
    has_pyav: bool
    has_gstreamer: bool
    has_nv_decoder: bool


def this_machine() -> Machine:
    """The machine that this process runs on."""
    is_jetson = read_jetson(Path("/")) is not None
    return Machine(
        is_jetson=is_jetson,
        has_pyav=has_pyav(),
        has_gstreamer=has_gstreamer() or has_gst_launch(),
        has_nv_decoder=is_jetson and has_element(NV_DECODER),
    )


def choose(machine: Machine, wanted: str | None, *, by_hardware: bool = True) -> str:
    """The decoder for a file or a network stream.

    Args:
        machine: What there is.
        wanted: One of ``DECODERS``; None for the best: GStreamer on a Jetson with its hardware decoder, else
            PyAV, else OpenCV.
        by_hardware: Whether the Jetson's hardware decodes this kind of source in GStreamer.

    Raises:
        UsageError: There is no decoder of that name.
    """
    if wanted is not None:
        if wanted not in DECODERS:
            raise UsageError(f"no decoder is called {wanted!r}", hint=f"known: {', '.join(DECODERS)}")
        return wanted
    if by_hardware and machine.is_jetson and machine.has_nv_decoder and machine.has_gstreamer:
        return GSTREAMER
    return PYAV if machine.has_pyav else OPENCV


def open_pipeline(pipeline: str, shown: str, *, is_live: bool) -> Reader:
    """Run a GStreamer pipeline that ends in BGR, in this process where OpenCV can do that, else in a child.

    Raises:
        DeviceError: GStreamer or an element is missing, or the pipeline does not start.
    """
    if not has_gstreamer():
        return GstReader(pipeline, shown, is_live=is_live)
    if has_gst_launch():  # OpenCV does not say which element is missing
        require_elements(shown, elements(pipeline))
    capture = open_capture(for_opencv(pipeline, is_live=is_live), cv2.CAP_GSTREAMER)
    if capture is None:
        raise DeviceError(
            f"{shown} does not open in GStreamer", hint="run the pipeline with gst-launch-1.0 -v to see why"
        )
    return OpencvReader(capture, cv2.CAP_GSTREAMER, is_live=is_live)
