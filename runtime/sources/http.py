"""A network camera that sends JPEG images over HTTP: ``--source http://host/path``, or ``https://``."""

from __future__ import annotations

from functools import partial

from edgestill.errors import UsageError
from runtime.decoders import path_choice
from runtime.decoders.reader import Reader
from runtime.sources._address import Address
from runtime.sources._live import LiveSource
from runtime.sources._network import TIMEOUT_S, open_stream
from runtime.sources._reading import Reading

MICROSECONDS = 1_000_000


def open_frames(address: Address, reading: Reading) -> LiveSource:
    """Open a stream: MJPEG, or any live format that FFmpeg reads.

    Raises:
        UsageError: GStreamer was asked for, for which there is no pipeline.
        DeviceError: It cannot be opened, or is a file and no stream.
    """
    decoder = path_choice.choose(path_choice.this_machine(), reading.decoder, by_hardware=False)
    if decoder == path_choice.GSTREAMER:
        hint = "leave --decoder away, or write the pipeline: gst://souphttpsrc location=URL ! ..."
        raise UsageError("--decoder gstreamer is not for http://", hint=hint)
    connect = partial(_connect, address, decoder)
    return LiveSource(connect, address.shown, retry=reading.retry, flip=address.options.flip)


def _connect(address: Address, decoder: str) -> Reader:
    return open_stream(address, decoder, {"timeout": str(int(TIMEOUT_S * MICROSECONDS))})
