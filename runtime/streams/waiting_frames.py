"""The frames of several sources that wait to be taken, fair between the sources.

Of a file a few frames wait in their order. Of a camera only the newest one waits, and those that it replaces
are counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Condition
from types import TracebackType
from typing import Protocol

from runtime.frames import Frame

AHEAD = 2  # frames of a file that wait, beside the one that is being decoded; more would only take memory


class Signal(Protocol):
    """What is needed of a ``threading.Condition``; a simulation of time has its own."""

    def __enter__(self) -> bool:
        """Lock."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unlock."""

    def wait_for(self, predicate: Callable[[], bool]) -> bool:
        """Unlock until ``predicate`` is true, and lock again."""

    def notify_all(self) -> None:
        """Have those who wait look at their predicates again."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrival:
    """A frame, or the end of a source.

    Attributes:
        at: Index of the source.
        frame: The frame; None for the end.
        error: What ended the source; None for its last frame.
    """

    at: int
    frame: Frame | None = None
    error: BaseException | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class _Box:
    """The frames of one source that wait."""

    at: int
    is_live: bool
    frames: deque[Frame] = field(default_factory=deque)
    replaced: int = 0
    has_ended: bool = False
    is_stopped: bool = False
    error: BaseException | None = None

    @property
    def is_ready(self) -> bool:
        """Whether a frame or the end can be taken."""
        return not self.is_stopped and bool(self.frames or self.has_ended)


class WaitingFrames:
    """Passes frames from the threads of several sources to one consumer.

    Args:
        is_live: For each source, whether only its newest frame waits.
        most: Largest number of frames in a group; None for one of each source.
        signal: What the consumer waits on; None for a ``threading.Condition``.
    """

    def __init__(
        self, is_live: Sequence[bool], *, most: int | None = 1, signal: Signal | None = None
    ) -> None:
        self._changed: Signal = Condition() if signal is None else signal
        self._boxes = [_Box(at=at, is_live=live) for at, live in enumerate(is_live)]
        self._most = most or len(self._boxes)
        self._next = 0

    def put(self, at: int, frame: Frame) -> bool:
        """Let a frame of a source wait; of a camera in place of an older one.

        Returns:
            False if the source is to stop.
        """
        box = self._boxes[at]
        with self._changed:
            if box.is_live:
                box.replaced += len(box.frames)
                box.frames.clear()
            else:
                self._changed.wait_for(lambda: box.is_stopped or len(box.frames) < AHEAD)
            if not box.is_stopped:
                box.frames.append(frame)
                self._changed.notify_all()
            return not box.is_stopped

    def end(self, at: int, error: BaseException | None = None) -> None:
        """Let the end of a source wait, behind its frames."""
        with self._changed:
            self._boxes[at].error, self._boxes[at].has_ended = error, True
            self._changed.notify_all()

    def stop(self, at: int) -> None:
        """Take no more frames of a source."""
        with self._changed:
            self._boxes[at].is_stopped = True
            self._boxes[at].frames.clear()
            self._changed.notify_all()

    def take(self) -> list[Arrival]:
        """Wait for frames, and take at most one of each source; empty once all sources are stopped.

        Where more sources are ready than ``most``, those that were not served last come first.
        """
        with self._changed:
            self._changed.wait_for(lambda: all(b.is_stopped for b in self._boxes) or bool(self._ready()))
            group = [self._take(box) for box in self._ready()[: self._most]]
            self._changed.notify_all()
        return group

    def is_stopped(self, at: int) -> bool:
        """Whether no more frames of a source are taken."""
        return self._boxes[at].is_stopped

    def replaced(self, at: int) -> int:
        """Number of frames of a source that a newer one replaced."""
        return self._boxes[at].replaced

    def _ready(self) -> list[_Box]:
        """The sources that have something, beginning behind the one that was served last."""
        return [box for box in self._boxes[self._next :] + self._boxes[: self._next] if box.is_ready]

    def _take(self, box: _Box) -> Arrival:
        self._next = (box.at + 1) % len(self._boxes)
        if box.frames:
            return Arrival(at=box.at, frame=box.frames.popleft())
        box.is_stopped = True
        return Arrival(at=box.at, error=box.error)
