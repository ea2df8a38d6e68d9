"""Live sources: a thread grabs every frame, and only the newest is kept; older ones are dropped and counted.

Without the thread, the driver would queue frames and a slow consumer would get ever older ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from threading import Condition, Thread
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DeviceError
from runtime.frames import Frame
from runtime.sources._stamps import LiveClock

STALL_S = 10.0  # a camera without a frame for this long is taken for disconnected
JOIN_S = 2.0


class Capture(Protocol):
    """The part of ``cv2.VideoCapture`` that a camera needs."""

    def grab(self) -> bool:
        """Wait for the next frame; False if there is none."""

    def retrieve(self) -> tuple[bool, NDArray[Any]]:
        """Decode the grabbed frame: whether that worked, and the image."""

    def release(self) -> None:
        """Free the camera."""


class LiveSource:
    """A camera that yields its newest frame; see ``runtime.frames.FrameSource``.

    Args:
        capture: The opened camera; ``close`` releases it.
        name: Name of the camera for messages and frames.
        fps: Frames per second; None if the camera does not report it.
        stall_s: Seconds without a frame after which DeviceError is raised.
        stamp_s: The time stamp of the grabbed frame in the stream, seconds; None to use the capture clock.
    """

    is_live = True
    total: int | None = None
    doubts: tuple[str, ...] = ()
    broke_off: str | None = None

    def __init__(
        self,
        capture: Capture,
        name: str,
        fps: float | None,
        *,
        stall_s: float = STALL_S,
        stamp_s: Callable[[], float] | None = None,
    ) -> None:
        self.fps, self.dropped = fps, 0
        self._capture, self._name, self._stall_s = capture, name, stall_s
        self._stamp_s_of_grabbed = stamp_s
        self._changed = Condition()
        self._slot: Frame | None = None
        self._ended = False
        self._thread = Thread(target=self._grab, name=f"camera {name}", daemon=True)
        self._thread.start()

    @property
    def drops(self) -> Mapping[str, int]:
        """Frames that were not taken, by cause."""
        return {"replaced": self.dropped} if self.dropped else {}

    def frames(self) -> Iterator[Frame]:
        """Yield the newest frame that was not yielded yet, until the camera stops."""
        while True:
            with self._changed:
                came = self._changed.wait_for(lambda: self._slot is not None or self._ended, self._stall_s)
                frame, self._slot = self._slot, None
            if frame is None:
                what = "stopped sending" if came else f"has sent nothing for {self._stall_s:g} s"
                raise DeviceError(f"{self._name} {what}", hint="check the cable, the power and the network")
            yield frame

    def close(self) -> None:
        """Stop the thread, which frees the camera."""
        with self._changed:
            self._ended = True
        self._thread.join(JOIN_S)  # with a timeout: a driver may hang

    def _grab(self) -> None:
        clock = LiveClock()
        index = 0
        try:
            while not self._ended and self._capture.grab():
                captured_s = perf_counter()
                good, image = self._capture.retrieve()
                if not good:
                    break
                stamp_s = self._stamp_s_of_grabbed() if self._stamp_s_of_grabbed is not None else None
                self._offer(
                    Frame(
                        image_bgr=np.asarray(image, np.uint8),
                        index=index,
                        captured_s=captured_s,
                        name=self._name,
                        decode_ms=(perf_counter() - captured_s) * 1e3,
                        time_s=clock.time_s(captured_s, stamp_s),
                    )
                )
                index += 1
        finally:
            self._capture.release()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _offer(self, frame: Frame) -> None:
        with self._changed:
            self.dropped += self._slot is not None
            self._slot = frame
            self._changed.notify_all()
