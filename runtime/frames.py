"""Frames and their sources: images, videos and cameras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edgestill.registry import Registry
from runtime.sources._address import parse_address
from runtime.sources._reading import Reading

SOURCES = Registry("runtime.sources", "frame source")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One decoded frame.

    Attributes:
        image_bgr: uint8 ``[H, W, 3]``.
        index: Position in the source, from 0; of a live source, dropped frames are counted.
        captured_s: Time of capture, or of reading from disk: seconds of ``time.perf_counter``.
        name: File name, below the common folder of all files of the source, or the name of the camera.
        decode_ms: Time of decoding, milliseconds.
        time_s: Time since the first frame of the source, seconds: by the time stamps of a video or stream,
            by the clock at capture for a camera. Images have none; theirs is that of 25 frames per second.
        after_gap: Whether a camera was gone before this frame, so that earlier frames say nothing about it.
    """

    image_bgr: NDArray[np.uint8]
    index: int
    captured_s: float
    name: str
    decode_ms: float
    time_s: float = 0.0
    after_gap: bool = False


class FrameSource(Protocol):
    """A video, a camera or a list of images.

    Attributes:
        is_live: Whether this is a camera; it yields its newest frame and drops frames that come too fast.
        fps: Frames per second; None if the source has no frame rate, as a folder of images.
        total: Number of frames according to the source; None for a camera.
        decoder: What decodes it, for people.
    """

    is_live: bool
    fps: float | None
    total: int | None
    decoder: str

    @property
    def dropped(self) -> int:
        """Frames of a camera that were not given: the sum of ``drops``."""

    @property
    def drops(self) -> Mapping[str, int]:
        """Frames that were not given, by cause; empty for files."""

    @property
    def doubts(self) -> Sequence[str]:
        """What was unusual while reading, one sentence for each; complete once the frames are read."""

    @property
    def broke_off(self) -> str | None:
        """Where a file ended, if that was before its declared end; None if not, or not yet."""

    def frames(self) -> Iterator[Frame]:
        """Iterate over the frames in order; possible once.

        Raises:
            DataError: A file is missing, truncated or cannot be decoded.
            DeviceError: A camera stopped sending frames.
        """

    def close(self) -> None:
        """Free the source; a second call does nothing."""


def has_many_frames(source: str) -> bool:
    """Whether a source of ``open_source`` is a video file or several images: their order is all that counts.

    Raises:
        UsageError: See ``open_source``.
    """
    kind = parse_address(source).kind
    return kind == "video" or (kind == "images" and not Path(source).is_file())


def open_source(source: str | Path, *, retry: int | None = None, decoder: str | None = None) -> FrameSource:
    """Open a frame source.

    Args:
        source: An image, a folder, a glob pattern, a video, a camera number as text, ``csi://N``,
            ``v4l2:///dev/videoN``, ``rtsp://...``, ``http://...`` or ``gst://PIPELINE``; the same as
            ``--source`` of ``edgestill run``.
        retry: Attempts to open a camera again after it was gone; 0 for none, None for no limit. A number
            above 0 also holds for the first opening, which otherwise fails at once.
        decoder: ``"pyav"``, ``"opencv"`` or ``"gstreamer"``, for videos and network streams; None for the
            best of this machine.

    Raises:
        UsageError: There is no source of that scheme, or an option in it is not known or has a bad value.
        DataError: A file is missing or cannot be decoded.
        DeviceError: The camera, or what is needed to read it, is not available.

    Example:
        >>> from edgestill import open_source
        >>> source = open_source("street.png")
        >>> for frame in source.frames():
        ...     print(frame.index, frame.name, frame.image_bgr.shape)
        0 street.png (32, 32, 3)
        >>> source.close()
    """
    address = parse_address(str(source))
    reading = Reading(retry=retry, decoder=decoder)
    return cast("FrameSource", SOURCES.load(address.kind).open_frames(address, reading))
