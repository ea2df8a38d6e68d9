"""The newest picture of each source as JPEG, encoded once for all viewers and only while somebody looks.

The pipeline copies a frame into a slot and goes on; a thread encodes the newest one of each slot. A viewer
takes the newest picture when it is ready for one. So neither the encoder nor a slow viewer holds the pipeline
up, and memory does not grow with their number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Condition, Thread
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

QUALITY = 80  # of JPEG, 0 to 100
MOST_SIDE = 1280  # pixels; boxes and labels are drawn by the viewer, in its own resolution
MOST_FPS = 30.0  # a file may run at hundreds of frames per second
IDLE_COPY_S = 1.0  # without viewers: so that the first one sees a picture also of a paused run
JOIN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An encoded frame.

    Attributes:
        source: Name of the source.
        number: Increases with each picture of all sources.
        about: What is drawn on it, as one line of JSON.
        jpeg: The JPEG file.
    """

    source: str
    number: int
    about: str
    jpeg: bytes


@dataclass(slots=True)
class _Slot:
    """The frames of one source on their way to the encoder."""

    fresh: NDArray[np.uint8] | None = None  # written by the pipeline
    taken: NDArray[np.uint8] | None = None  # read by the encoder
    about: str = ""
    is_new: bool = False
    copied_s: float = float("-inf")
    encoded_s: float = float("-inf")
    picture: Picture | None = None


@dataclass(eq=False, slots=True)
class Viewer:
    """One who looks; lives in the event loop in which it was made.

    Attributes:
        source: The only source it looks at; None for all.
    """

    source: str | None
    loop: asyncio.AbstractEventLoop
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    seen: int = 0


class PictureFeed:
    """Takes frames from the pipeline and gives pictures to viewers.

    Attributes:
        encoded: Number of pictures that were encoded.
    """

    def __init__(self) -> None:
        self.encoded = 0
        self._changed = Condition()
        self._slots: dict[str, _Slot] = {}
        self._viewers: set[Viewer] = set()
        self._closed = False
        self._thread = Thread(target=self._encode, name="jpeg", daemon=True)
        self._thread.start()

    @property
    def viewers(self) -> int:
        """How many look."""
        return len(self._viewers)

    def wants(self, source: str) -> bool:
        """Whether the next frame of a source should be offered."""
        if self._viewers:
            return not self._closed
        slot = self._slots.get(source)
        return slot is None or perf_counter() - slot.copied_s >= IDLE_COPY_S

    def offer(self, source: str, image_bgr: NDArray[np.uint8], about: str) -> None:
        """Copy a frame, uint8 ``[H, W, 3]`` BGR, in place of one that is not encoded yet."""
        with self._changed:
            slot = self._slots.setdefault(source, _Slot())
            if slot.fresh is None or slot.fresh.shape != image_bgr.shape:
                slot.fresh = np.empty_like(image_bgr)
            np.copyto(slot.fresh, image_bgr)
            slot.about, slot.is_new, slot.copied_s = about, True, perf_counter()
            if self._viewers:
                self._changed.notify_all()

    @contextmanager
    def viewer(self, source: str | None = None) -> Iterator[Viewer]:
        """Somebody who looks while the block runs; in an event loop."""
        one = Viewer(source, asyncio.get_running_loop())
        with self._changed:
            self._viewers.add(one)
            self._changed.notify_all()
        one.wake.set()  # for the pictures that there are
        try:
            yield one
        finally:
            with self._changed:
                self._viewers.discard(one)

    async def pictures(self, viewer: Viewer) -> list[Picture] | None:
        """Wait for pictures that the viewer has not seen, one of a source at most; None at the end."""
        while True:
            await viewer.wake.wait()
            viewer.wake.clear()
            if self._closed:
                return None
            newer = self._newer(viewer)
            if newer:
                viewer.seen = newer[-1].number
                return newer

    def close(self) -> None:
        """End the encoder and all viewers."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._wake()
        self._thread.join(JOIN_S)

    def _newer(self, viewer: Viewer) -> list[Picture]:
        with self._changed:
            pictures = [slot.picture for slot in self._slots.values() if slot.picture is not None]
        shown = [one for one in pictures if one.number > viewer.seen and viewer.source in {None, one.source}]
        return sorted(shown, key=lambda one: one.number)

    def _wake(self) -> None:
        for viewer in self._viewers:
            with suppress(RuntimeError):  # its event loop is closed
                viewer.loop.call_soon_threadsafe(viewer.wake.set)

    def _encode(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next() is not None)
                source = self._next()
                if self._closed or source is None:
                    return
                slot = self._slots[source]
                wait_s = slot.encoded_s + 1 / MOST_FPS - perf_counter()
                if wait_s > 0:
                    self._changed.wait(wait_s)
                    continue
                # Swapped: the pipeline writes into one array while the other is encoded.
                slot.fresh, slot.taken = slot.taken, slot.fresh
                image_bgr, about, slot.is_new = slot.taken, slot.about, False
                slot.encoded_s = perf_counter()
            if image_bgr is not None:
                self._publish(slot, source, about, image_bgr)

    def _publish(self, slot: _Slot, source: str, about: str, image_bgr: NDArray[np.uint8]) -> None:
        jpeg = to_jpeg(image_bgr)
        with self._changed:
            self.encoded += 1
            slot.picture = Picture(source=source, number=self.encoded, about=about, jpeg=jpeg)
            self._wake()

    def _next(self) -> str | None:
        """The source whose frame waits longest since its last picture; None if there is nothing to do."""
        waiting = [name for name, slot in self._slots.items() if slot.is_new] if self._viewers else []
        return min(waiting, key=lambda name: self._slots[name].encoded_s, default=None)


def to_jpeg(image_bgr: NDArray[np.uint8]) -> bytes:
    """A frame, uint8 ``[H, W, 3]`` BGR, as a JPEG file whose longer side is at most ``MOST_SIDE``."""
    height, width = image_bgr.shape[:2]
    scale = MOST_SIDE / max(height, width)
    if scale < 1:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        image_bgr = np.asarray(cv2.resize(image_bgr, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()
