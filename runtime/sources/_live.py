"""Live sources: a thread grabs every frame, and only the newest is kept; older ones are dropped and counted.

Without the thread, the driver would queue frames and a slow consumer would get ever older ones. The thread
also opens the camera again after it was gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from threading import Condition, Event, Thread
from time import perf_counter

from edgestill.errors import DeviceError
from edgestill.progress import say
from runtime.decoders.orientation import flipped
from runtime.decoders.reader import DamagedFrameError, Grabbed, Reader
from runtime.frames import Frame
from runtime.sources._attempts import BACK_OFF, BackOff, open_first
from runtime.sources._stamps import LiveClock

STALL_S = 10.0  # a camera without a frame for this long is taken for disconnected
JOIN_S = 2.0
CHECK = "check the cable, the power and the network"
#: Why frames of a camera were not given: a newer one came, it could not be decoded, the camera was gone.
REPLACED, DECODE_ERROR, GAP = "replaced", "decode_error", "gap"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Newest:
    grabbed: Grabbed
    index: int
    time_s: float
    after_gap: bool


class LiveSource:
    """A camera that yields its newest frame; see ``runtime.frames.FrameSource``.

    Args:
        connect: Opens the camera; raises DeviceError if it is not there. Called again after each gap.
        name: Name of the camera for messages and frames.
        retry: See ``runtime.sources._reading.Reading``.
        flip: How images are turned, see ``runtime.decoders.orientation.flipped``.
        stall_s: Seconds without a frame after which the camera counts as gone.
        back_off: Seconds to wait before each attempt.

    Raises:
        DeviceError: The camera does not open.
    """

    is_live = True
    total: int | None = None
    doubts: tuple[str, ...] = ()
    broke_off: str | None = None

    def __init__(
        self,
        connect: Callable[[], Reader],
        name: str,
        *,
        retry: int | None = None,
        flip: int = 0,
        stall_s: float = STALL_S,
        back_off: BackOff = BACK_OFF,
    ) -> None:
        self._connect, self._name, self._retry, self._flip = connect, name, retry, flip
        self._stall_s, self._back_off = stall_s, back_off
        self._reader = open_first(connect, name, retry or 0, back_off)
        self.fps, self.decoder = self._reader.fps, self._reader.decoder
        self._clock = LiveClock()
        self._changed, self._closing = Condition(), Event()
        self._slot: _Newest | None = None
        self._index = self._replaced = self._undecoded = 0
        self._ended = False
        self._failure: Exception | None = None
        self._gone_since_s: float | None = None
        self._gap_s = 0.0
        self._tries = 0  # since the last frame
        self._thread = Thread(target=self._run, name=f"camera {name}", daemon=True)
        self._thread.start()

    @property
    def drops(self) -> Mapping[str, int]:
        """Frames that were not given, by cause; those of a gap by its length and the rate of the camera."""
        missed = round(self._gap_s * (self.fps or 0))
        return {REPLACED: self._replaced, DECODE_ERROR: self._undecoded + self._reader.failed, GAP: missed}

    @property
    def dropped(self) -> int:
        """The sum of ``drops``."""
        return sum(self.drops.values())

    def frames(self) -> Iterator[Frame]:
        """Yield the newest frame that was not yielded yet, until the source is closed."""
        while True:
            with self._changed:
                came = self._changed.wait_for(lambda: self._slot is not None or self._ended, self._stall_s)
                newest, self._slot = self._slot, None
            if newest is not None:
                frame = self._converted(newest)
                if frame is not None:
                    yield frame
            elif not came:
                self._note_stall()
            elif self._failure is not None:
                raise self._failure
            else:
                return

    def close(self) -> None:
        """Stop the thread, which frees the camera."""
        self._closing.set()
        self._reader.stop()
        self._thread.join(JOIN_S)  # with a timeout: a driver may hang

    def _run(self) -> None:
        try:
            self._forward()
            while not self._closing.is_set() and self._reconnect():
                self._forward()
        except Exception as error:  # raised again in the consumer
            self._failure = error
        finally:
            self._reader.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _forward(self) -> None:
        """Keep the newest frame of the open camera until it ends."""
        while not self._closing.is_set():
            grabbed = self._reader.grab()
            if grabbed is None:
                return
            self._offer(grabbed)

    def _offer(self, grabbed: Grabbed) -> None:
        after_gap = self._end_gap(grabbed.captured_s)
        time_s = self._clock.time_s(grabbed.captured_s, grabbed.stamp_s)
        newest = _Newest(grabbed=grabbed, index=self._index, time_s=time_s, after_gap=after_gap)
        self._index += 1
        with self._changed:
            if self._slot is not None:
                self._replaced += 1
                newest = replace(newest, after_gap=after_gap or self._slot.after_gap)
            self._slot = newest
            self._changed.notify_all()

    def _converted(self, newest: _Newest) -> Frame | None:
        start_s = perf_counter()
        try:
            image_bgr = flipped(newest.grabbed.to_bgr(), self._flip)
        except DamagedFrameError:
            self._undecoded += 1
            return None
        return Frame(
            image_bgr=image_bgr,
            index=newest.index,
            captured_s=newest.grabbed.captured_s,
            name=self._name,
            decode_ms=newest.grabbed.decode_ms + (perf_counter() - start_s) * 1e3,
            time_s=newest.time_s,
            after_gap=newest.after_gap,
        )

    def _note_stall(self) -> None:
        """Handle a camera whose driver waits for longer than ``stall_s``."""
        if self._gone_since_s is not None:
            return
        what = f"{self._name} has sent nothing for {self._stall_s:g} s"
        if self._retry == 0:
            raise DeviceError(what, hint=CHECK)
        self._begin_gap(what)

    def _begin_gap(self, what: str) -> None:
        self._gone_since_s = perf_counter()
        self._clock.restart()
        say(f"{what}; waiting for it")

    def _end_gap(self, now_s: float) -> bool:
        """Note a frame; whether the camera was gone before it."""
        since_s, self._gone_since_s, self._tries = self._gone_since_s, None, 0
        if since_s is None:
            return False
        self._gap_s += now_s - since_s
        say(f"{self._name} is back after {now_s - since_s:.1f} s")
        return True

    def _reconnect(self) -> bool:
        """Open the camera again; False if the source is closed or the attempts are used up."""
        if self._retry == 0:
            raise DeviceError(f"{self._name} stopped sending", hint=CHECK)
        self._undecoded += self._reader.failed
        self._reader.failed = 0
        self._reader.close()
        if self._gone_since_s is None:
            self._begin_gap(f"{self._name} stopped sending")
        while self._retry is None or self._tries < self._retry:
            if self._closing.wait(self._back_off.seconds(self._tries)):
                return False
            self._tries += 1
            try:
                self._reader = self._connect()
            except DeviceError:
                continue
            return True
        raise DeviceError(f"{self._name} stopped sending, and did not open {self._tries} times", hint=CHECK)
