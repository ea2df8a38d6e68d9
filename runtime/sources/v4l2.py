"""A Video4Linux camera by device file: ``--source v4l2:///dev/video0``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2

from edgestill.errors import DeviceError, UsageError
from runtime.decoders import gst_pipelines, path_choice
from runtime.decoders.opencv_reader import OpencvReader, open_capture
from runtime.decoders.reader import Reader
from runtime.sources._address import Address, Options
from runtime.sources._live import LiveSource
from runtime.sources._reading import Reading
from runtime.sources._v4l2_formats import refuse_bayer

MJPG = gst_pipelines.JPEG
HINT = "ls /dev/video*; is another program using it?"


def open_frames(address: Address, reading: Reading) -> LiveSource:
    """Open a camera.

    Raises:
        UsageError: No device is named, or the decoder does not read it.
        DeviceError: The device file is missing, does not open, or is a CSI sensor.
    """
    if not address.target:
        raise UsageError("v4l2:// names no device", hint="use v4l2:///dev/video0, with three slashes")
    if reading.decoder == path_choice.PYAV:
        raise UsageError("--decoder pyav does not read v4l2://", hint="leave --decoder away")
    connect = partial(_connect, address.target, address.options, reading.decoder)
    return LiveSource(connect, address.shown, retry=reading.retry, flip=address.options.flip)


def _connect(device: str, options: Options, decoder: str | None) -> Reader:
    if not Path(device).exists():
        raise DeviceError(f"{device} does not exist", hint=HINT)
    refuse_bayer(device)
    has_nv = path_choice.this_machine().has_nv_decoder
    if decoder == path_choice.GSTREAMER or (decoder is None and has_nv and options.format == MJPG):
        return path_choice.open_pipeline(_pipeline(device, options, has_nv=has_nv), device, is_live=True)
    capture = open_capture(device, cv2.CAP_V4L2, capture_options(options))
    if capture is None:
        raise DeviceError(f"{device} does not open", hint=HINT)
    return OpencvReader(capture, cv2.CAP_V4L2, is_live=True)


def capture_options(options: Options) -> list[int]:
    """OpenCV's properties for what is wanted of a camera; the format first, as sizes depend on it."""
    wanted = (
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.format) if options.format else None),
        (cv2.CAP_PROP_FRAME_WIDTH, options.width),
        (cv2.CAP_PROP_FRAME_HEIGHT, options.height),
        (cv2.CAP_PROP_FPS, round(options.fps) if options.fps else None),
    )
    return [number for name, value in wanted if value is not None for number in (name, value)]


def _pipeline(device: str, options: Options, *, has_nv: bool) -> str:
    pixels = options.format
    if pixels not in {None, MJPG, *gst_pipelines.RAW_FORMATS}:
        hint = f"use one of {', '.join([MJPG, *gst_pipelines.RAW_FORMATS])}, or leave --decoder away"
        raise UsageError(f"format={pixels} is not for --decoder gstreamer", hint=hint)
    mode = None
    if options.width and options.height:
        mode = gst_pipelines.Mode(width=options.width, height=options.height, fps=options.fps)
    return gst_pipelines.v4l2(device, mode, pixels, on_jetson=has_nv)
