"""What every decoder of a video or a stream offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class DamagedFrameError(Exception):
    """A frame that was decoded cannot be converted; the next one may be good."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grabbed:
    """A frame as its decoder has it.

    Attributes:
        to_bgr: Gives the image, uint8 ``[H, W, 3]``. It may convert colours: a frame that nobody takes is not
            converted. Raises DamagedFrameError.
        captured_s: When it arrived: seconds of ``time.perf_counter``.
        stamp_s: Its time stamp in the stream, seconds; None if it has none.
        decode_ms: Time of decoding without waiting for data, milliseconds; 0 if the decoder cannot tell.
    """

    to_bgr: Callable[[], NDArray[np.uint8]]
    captured_s: float
    stamp_s: float | None
    decode_ms: float = 0.0


class Reader(Protocol):
    """An open video or stream.

    Attributes:
        decoder: Its name for the result and the terminal, e.g. ``"PyAV"``.
        fps: Frames per second as declared; None if that is not known.
        total: Number of frames as declared; None if that is not known.
        failed: Frames that could not be decoded so far.
    """

    decoder: str
    fps: float | None
    total: int | None
    failed: int

    def grab(self) -> Grabbed | None:
        """Wait for the next frame; None at the end, or if a camera sends nothing."""

    def stop(self) -> None:
        """Make a ``grab`` that waits in another thread return soon, where the decoder can do that."""

    def close(self) -> None:
        """Free the file or camera; a second call does nothing. Not while another thread is in ``grab``."""
