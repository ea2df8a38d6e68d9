"""Frames and where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edgestill.dataset import IMAGE_SUFFIXES
from edgestill.errors import UsageError
from edgestill.registry import Registry

SOURCES = Registry("runtime.sources", "frame source")
KINDS = "an image, a folder, a glob, a video, a camera number, rtsp://..., v4l2:///dev/videoN"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One picture.

    Attributes:
        image_bgr: uint8 ``[H, W, 3]``.
        index: Position in the source, from 0; a live source counts the frames that it dropped too.
        captured_s: When the picture was taken, or read from disk: seconds of ``time.perf_counter``.
        name: File name without its folder, or what the camera is called.
        decode_ms: Time to decode it.
        time_s: Position in the source's own time: seconds since its first frame.
    """

    image_bgr: NDArray[np.uint8]
    index: int
    captured_s: float
    name: str
    decode_ms: float
    time_s: float = 0.0


class FrameSource(Protocol):
    """A video, a camera, a list of images.

    Attributes:
        is_live: Whether frames pass whether we take them or not; then only the newest is given.
        fps: Frames per second; None where there is no pace, as in a folder of images.
        total: Frames that the source says it has; None where there is no end.
        dropped: Frames that were overwritten by newer ones before anybody took them.
    """

    is_live: bool
    fps: float | None
    total: int | None
    dropped: int

    def frames(self) -> Iterator[Frame]:
        """The frames in order, once.

        Raises:
            DataError: A file is missing, truncated or cannot be decoded.
            DeviceError: A camera stopped sending.
        """

    def close(self) -> None:
        """Free the source; a second call does nothing."""


def open_source(text: str) -> FrameSource:
    """Open what ``--source`` names.

    Args:
        text: An image, a folder, a glob, a video, a camera number, or ``scheme://...``.

    Raises:
        UsageError: No source has that scheme.
        DataError: A file is missing or cannot be decoded.
        DeviceError: There is no such camera.
    """
    kind = _kind(text)
    if kind not in SOURCES.names():
        raise UsageError(f"no frame source reads {kind}://", hint=f"give {KINDS}")
    return cast("FrameSource", SOURCES.load(kind).open_frames(text))


def _kind(text: str) -> str:
    scheme, separator, _ = text.partition("://")
    if separator:
        return scheme
    if text.isdecimal():
        return "webcam"
    path = Path(text)
    is_image = path.suffix.lower() in IMAGE_SUFFIXES
    if path.is_file():
        return "images" if is_image else "video"
    is_glob = any(sign in text for sign in "*?[")
    return "images" if is_image or is_glob or path.is_dir() else "video"
