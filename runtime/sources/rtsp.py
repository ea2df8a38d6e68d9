"""A network camera: ``--source rtsp://host/path``."""

from __future__ import annotations

from functools import partial

from runtime.decoders import gst_pipelines, path_choice
from runtime.decoders.reader import Reader
from runtime.sources._address import Address
from runtime.sources._live import LiveSource
from runtime.sources._network import TIMEOUT_S, open_stream
from runtime.sources._reading import Reading

TRANSPORT = "tcp"  # no frame is damaged by a lost packet
LATENCY_MS = 100
MICROSECONDS = 1_000_000


def open_frames(address: Address, reading: Reading) -> LiveSource:
    """Open a stream.

    Raises:
        DeviceError: It cannot be opened, or has no video.
    """
    decoder = path_choice.choose(path_choice.this_machine(), reading.decoder)
    connect = partial(_connect, address, decoder)
    return LiveSource(connect, address.shown, retry=reading.retry, flip=address.options.flip)


def _connect(address: Address, decoder: str) -> Reader:
    options = address.options
    transport = options.transport or TRANSPORT
    latency_ms = LATENCY_MS if options.latency_ms is None else options.latency_ms
    if decoder == path_choice.GSTREAMER:
        is_jetson = path_choice.this_machine().has_nv_decoder
        pipeline = gst_pipelines.rtsp(
            address.target, latency_ms=latency_ms, transport=transport, on_jetson=is_jetson
        )
        return path_choice.open_pipeline(pipeline, address.shown, is_live=True)
    return open_stream(address, decoder, ffmpeg_options(transport, latency_ms))


def ffmpeg_options(transport: str, latency_ms: int) -> dict[str, str]:
    """FFmpeg's options of its RTSP reader."""
    return {
        "rtsp_transport": transport,
        "allowed_media_types": "video",
        "max_delay": str(latency_ms * 1000),  # microseconds, for packets that come late by UDP
        "timeout": str(int(TIMEOUT_S * MICROSECONDS)),
    }
