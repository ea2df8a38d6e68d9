"""Streams from the network, read by FFmpeg in PyAV or OpenCV."""

from __future__ import annotations

from collections.abc import Mapping

import cv2

from edgestill.errors import DataError, DeviceError
from runtime.decoders import path_choice
from runtime.decoders.opencv_reader import OpencvReader, open_capture
from runtime.decoders.pyav_reader import open_pyav
from runtime.decoders.reader import Reader
from runtime.decoders.redaction import without_secrets
from runtime.sources._address import Address

TIMEOUT_S = 10.0
#: How long FFmpeg reads to find out about a stream before the first frame, microseconds: its default of five
#: seconds would hold back a camera that is back.
ANALYZE = {"analyzeduration": "1000000", "fflags": "nobuffer"}
HINT = "test the address with ffplay"


def open_stream(address: Address, decoder: str, options: Mapping[str, str]) -> Reader:
    """Open a network stream.

    Args:
        address: Its URL.
        decoder: ``pyav`` or ``opencv``.
        options: FFmpeg's options of the protocol; OpenCV takes none of them but the time limits.

    Raises:
        DeviceError: It cannot be opened, has no video, or is a file.
    """
    if decoder == path_choice.PYAV:
        return _by_pyav(address, {**ANALYZE, **options})
    limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
    capture = open_capture(
        address.target,
        cv2.CAP_FFMPEG,
        [value for limit in limits for value in (limit, int(TIMEOUT_S * 1000))],
    )
    if capture is None:
        raise DeviceError(f"{address.shown} does not open", hint=HINT)
    return OpencvReader(capture, cv2.CAP_FFMPEG, is_live=True, has_stamps=address.kind == "rtsp")


def _by_pyav(address: Address, options: Mapping[str, str]) -> Reader:
    try:
        reader = open_pyav(address.target, is_live=True, options=options, timeout_s=TIMEOUT_S)
    except DataError as error:
        raise DeviceError(f"{address.shown}: {error.what}", hint=error.hint) from error
    except OSError as error:
        why = without_secrets(error.strerror or type(error).__name__)
        raise DeviceError(f"{address.shown} does not open: {why}", hint=HINT) from None
    if reader.length_s is not None and address.kind == "http":
        length_s = reader.length_s
        reader.close()
        raise DeviceError(
            f"{address.shown} is a file of {length_s:.1f} s, and no live stream",
            hint="download it, and give the file: curl -O URL",
        )
    return reader
