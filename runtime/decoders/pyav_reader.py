"""PyAV: FFmpeg with the stream's own time stamps. Optional: the extra ``video``.

Source: https://pyav.org/docs/stable/ and https://ffmpeg.org/ffmpeg-protocols.html (options of a URL).
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DataError, missing_library
from edgestill.verbosity import is_verbose
from runtime.decoders.orientation import rotated
from runtime.decoders.reader import DamagedFrameError, Grabbed

NAME = "PyAV"
#: Formats without time stamps, to which FFmpeg gives those of 25 frames per second.
UNTIMED = frozenset({"mpjpeg", "mjpeg", "mjpeg_2000"})
#: Threads that decode frames of a file; each holds a frame.
MOST_THREADS = 4


def has_pyav() -> bool:
    """Whether PyAV is installed; it is not imported."""
    return find_spec("av") is not None


def open_pyav(
    target: str,
    *,
    is_live: bool,
    options: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
) -> PyavReader:
    """Open a file or URL.

    Args:
        target: Absolute path of a file, or a URL.
        is_live: Whether it is a stream.
        options: FFmpeg's options of the format.
        timeout_s: Most seconds to wait for the opening, and for data; None for no limit.

    Raises:
        DeviceError: PyAV is not installed.
        OSError: FFmpeg cannot open it; ``strerror`` says why.
        DataError: It has no video.
    """
    try:
        import av  # noqa: PLC0415 (optional)
        import av.filter  # noqa: PLC0415
    except ImportError as error:
        raise missing_library("the decoder 'pyav'", error.name, "video") from error
    if is_verbose():
        av.logging.restore_default_callback()
    try:
        container = av.open(target, options=dict(options or {}), timeout=timeout_s, metadata_errors="replace")
    except av.error.FFmpegError as error:  # some are no OSError, and the text of all holds the whole address
        raise OSError(error.errno, error.strerror) from None
    stream: Any = container.streams.best("video")
    if stream is None or stream.codec_context is None:
        container.close()
        raise DataError("it has no video", hint="test it with ffplay")
    return PyavReader(av, container, stream, is_live=is_live)


class PyavReader:
    """The best video stream of a file or URL; see ``runtime.decoders.reader.Reader``.

    Images are turned as the metadata of the stream say.

    Attributes:
        length_s: Length as declared, seconds; None for a live stream.
    """

    def __init__(self, av: Any, container: Any, stream: Any, *, is_live: bool) -> None:
        self.decoder = NAME
        self.failed = 0
        self._av, self._container, self._stream = av, container, stream
        # Frame threads hold frames back, which a live picture must not have.
        stream.thread_type = "SLICE" if is_live else "AUTO"
        stream.codec_context.thread_count = min(os.cpu_count() or 1, MOST_THREADS)
        has_stamps = container.format.name not in UNTIMED or not is_live
        self._is_timed = has_stamps and stream.time_base is not None
        self._tick_s = float(stream.time_base or 0)
        rate = float(stream.guessed_rate or 0)
        self.fps: float | None = rate if 0 < rate < 1000 and self._is_timed else None
        self.length_s = self._declared_s()
        self.total: int | None = None if is_live else self._declared_frames()
        self._converter = _Converter(av)
        self._frames = self._decoded()

    def grab(self) -> Grabbed | None:
        """See ``Reader``."""
        return next(self._frames, None)

    def stop(self) -> None:
        """Do nothing: FFmpeg's own time limit ends a read."""

    def close(self) -> None:
        """See ``Reader``."""
        if self._container is not None:
            self._frames.close()
            self._container.close()
            self._container = None

    def _decoded(self) -> Generator[Grabbed, None, None]:
        for packet in self._packets():
            arrived_s = perf_counter()
            try:
                frames = packet.decode()
            except self._av.error.FFmpegError:
                self.failed += 1
                continue
            decode_ms = (perf_counter() - arrived_s) * 1e3
            for frame in frames:
                yield Grabbed(
                    to_bgr=partial(self._converter.to_bgr, frame),
                    captured_s=arrived_s,
                    stamp_s=self._stamp_s(frame),
                    decode_ms=decode_ms,
                )

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except (self._av.error.FFmpegError, OSError):
            return  # the network is gone, the time limit is over, or the rest of the file is no video

    def _stamp_s(self, frame: Any) -> float | None:
        ticks = frame.pts if frame.pts is not None else frame.dts
        return None if ticks is None or not self._is_timed else float(ticks) * self._tick_s

    def _declared_s(self) -> float | None:
        if self._container.duration:
            return float(self._container.duration) / float(self._av.time_base)
        stream = self._stream
        return float(stream.duration * stream.time_base) if stream.duration else None

    def _declared_frames(self) -> int | None:
        if self._stream.frames:
            return int(self._stream.frames)
        return round((self.length_s or 0) * (self.fps or 0)) or None


class _Converter:
    """Converts frames to BGR by a filter graph of FFmpeg, whose pool of frames is used again and again.

    ``VideoFrame.to_ndarray`` with a format gives the same values, but in new memory for each frame: its page
    faults are a third of the CPU time of decoding 1920 x 1080.
    """

    def __init__(self, av: Any) -> None:
        self._av = av
        self._graph: Any = None
        self._form: tuple[str, int, int] | None = None

    def to_bgr(self, frame: Any) -> NDArray[np.uint8]:
        """The image of a decoded frame, turned as its metadata say.

        Raises:
            DamagedFrameError: It cannot be converted.
        """
        form = (frame.format.name, frame.width, frame.height)
        try:
            if form != self._form:
                self._graph, self._form = self._made(frame), form
            self._graph.vpush(frame)
            image = self._graph.vpull().to_ndarray()  # a view: no copy
        except (self._av.error.FFmpegError, ValueError) as error:
            self._form = None
            raise DamagedFrameError from error
        # Only rows of some widths end in padding, and are copied.
        return np.ascontiguousarray(rotated(image, frame.rotation))

    def _made(self, frame: Any) -> Any:
        graph = self._av.filter.Graph()
        graph.threads = 1
        start = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        graph.link_nodes(start, graph.add("format", "bgr24"), graph.add("buffersink"))
        graph.configure()
        return graph
