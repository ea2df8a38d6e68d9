"""Frames and their sources: images, videos and cameras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edgestill.dataset import IMAGE_SUFFIXES
from edgestill.errors import UsageError
from edgestill.registry import Registry

SOURCES = Registry("runtime.sources", "frame source")
#: Modules of ``runtime.sources`` that are chosen by the form of the text.
WITHOUT_SCHEME = frozenset({"images", "video", "webcam"})
KINDS = "an image, a folder, a glob, a video, a camera number, rtsp://..., v4l2:///dev/videoN"


NO_DROPS: Mapping[str, int] = MappingProxyType({})  # of a file


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
    """

    image_bgr: NDArray[np.uint8]
    index: int
    captured_s: float
    name: str
    decode_ms: float
    time_s: float = 0.0


class FrameSource(Protocol):
    """A video, a camera or a list of images.

    Attributes:
        is_live: Whether this is a camera; it yields its newest frame and drops frames that come too fast.
        fps: Frames per second; None if the source has no frame rate, as a folder of images.
        total: Number of frames according to the source; None for a camera.
        dropped: Frames of a camera that were not taken, the sum of ``drops``.
        drops: The same by cause, as ``replaced`` by a newer one before it was taken.
    """

    is_live: bool
    fps: float | None
    total: int | None
    dropped: int

    @property
    def drops(self) -> Mapping[str, int]:
        """Frames of a camera that were not taken, by cause."""

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


def open_source(source: str | Path) -> FrameSource:
    """Open a frame source.

    Args:
        source: An image, a folder, a glob pattern, a video, a camera number as text, ``rtsp://...`` or
            ``v4l2:///dev/videoN``; the same as ``--source`` of ``edgestill run``.

    Raises:
        UsageError: There is no source of that scheme.
        DataError: A file is missing or cannot be decoded.
        DeviceError: The camera is not available.

    Example:
        >>> from edgestill import open_source
        >>> source = open_source("street.png")
        >>> for frame in source.frames():
        ...     print(frame.index, frame.name, frame.image_bgr.shape)
        0 street.png (32, 32, 3)
        >>> source.close()
    """
    text = str(source)
    scheme, separator, _ = text.partition("://")
    if separator and (scheme in WITHOUT_SCHEME or scheme not in SOURCES.names()):
        raise UsageError(f"no frame source reads {scheme}://", hint=f"use {KINDS}")
    kind = scheme if separator else _kind(text)
    return cast("FrameSource", SOURCES.load(kind).open_frames(text))


def _kind(text: str) -> str:
    if text.isdecimal():
        return "webcam"
    path = Path(text)
    is_image = path.suffix.lower() in IMAGE_SUFFIXES
    if path.is_file():
        return "images" if is_image else "video"
    is_glob = any(sign in text for sign in "*?[")
    return "images" if is_image or is_glob or path.is_dir() else "video"
