"""The frames of one or several sources as they arrive, fair between the sources.

A file is decoded ahead by a thread of its own, and every frame arrives. Of several cameras a thread each
takes the frames, and only the newest one of each waits here; a camera alone needs no thread, as its source
yields the newest frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Condition, Thread
from types import TracebackType

from runtime.frames import Frame, FrameSource

AHEAD = 2  # frames of a file that wait, beside the one that is being decoded; more would only take memory


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


class _Box:
    """The frames of one source that wait, and its thread."""

    def __init__(self, at: int, source: FrameSource) -> None:
        self.at, self.source = at, source
        self.frames: deque[Frame] = deque()
        self.replaced = 0
        self.has_ended = self.is_stopped = False
        self.error: BaseException | None = None
        self.thread: Thread | None = None

    @property
    def is_ready(self) -> bool:
        """Whether a frame or the end can be taken."""
        return not self.is_stopped and bool(self.frames or self.has_ended)


class Arrivals:
    """Iterates over groups of arrivals; at most one of each source is in a group. A context manager.

    The iterator waits until a source has a frame, and does not wait for the others. Where more sources are
    ready than ``most``, those that were not served last come first.

    Args:
        sources: The sources; the caller closes them, after this context manager.
        most: Largest number of frames in a group; None for one of each source.
    """

    def __init__(self, sources: Sequence[FrameSource], *, most: int | None = 1) -> None:
        self._changed = Condition()
        self._boxes = [_Box(at, source) for at, source in enumerate(sources)]
        self._most = most or len(self._boxes)
        self._next = 0

    def __enter__(self) -> Arrivals:
        if not self._is_one_camera:
            for box in self._boxes:
                box.thread = Thread(target=self._fill, args=(box,), name=f"source {box.at}", daemon=True)
                box.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for at in range(len(self._boxes)):
            self.stop(at)
        for box in self._boxes:
            # A camera may be waited for: its thread ends with the next frame, or when the source is closed.
            if box.thread is not None and not box.source.is_live:
                box.thread.join()

    def __iter__(self) -> Iterator[list[Arrival]]:
        return self._of_one_camera(self._boxes[0]) if self._is_one_camera else self._groups()

    def stop(self, at: int) -> None:
        """Take no more frames of a source."""
        with self._changed:
            self._boxes[at].is_stopped = True
            self._boxes[at].frames.clear()
            self._changed.notify_all()

    def replaced(self, at: int) -> int:
        """Number of frames of a camera that a newer one replaced here, beside those its source counts."""
        return self._boxes[at].replaced

    @property
    def _is_one_camera(self) -> bool:
        return len(self._boxes) == 1 and self._boxes[0].source.is_live

    def _of_one_camera(self, box: _Box) -> Iterator[list[Arrival]]:
        frames = box.source.frames()
        while not box.is_stopped:
            try:
                frame = next(frames, None)
            except Exception as error:  # the consumer tells it from errors of its own
                yield [Arrival(at=0, error=error)]
                return
            yield [Arrival(at=0, frame=frame)]
            if frame is None:
                return

    def _groups(self) -> Iterator[list[Arrival]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: all(b.is_stopped for b in self._boxes) or self._ready())
                group = [self._take(box) for box in self._ready()[: self._most]]
                self._changed.notify_all()
            if not group:
                return
            yield group

    def _ready(self) -> list[_Box]:
        """The sources that have something, beginning behind the one that was served last."""
        return [box for box in self._boxes[self._next :] + self._boxes[: self._next] if box.is_ready]

    def _take(self, box: _Box) -> Arrival:
        self._next = (box.at + 1) % len(self._boxes)
        if box.frames:
            return Arrival(at=box.at, frame=box.frames.popleft())
        box.is_stopped = True
        return Arrival(at=box.at, error=box.error)

    def _fill(self, box: _Box) -> None:
        """Read a source to its end, in its thread."""
        try:
            for frame in box.source.frames():
                if not self._put(box, frame):
                    return
        except BaseException as error:  # it is raised, or told, where the frames are taken
            box.error = error
        with self._changed:
            box.has_ended = True
            self._changed.notify_all()

    def _put(self, box: _Box, frame: Frame) -> bool:
        """Let a frame wait; of a camera in place of an older one. False if the source is to stop."""
        with self._changed:
            if box.source.is_live:
                box.replaced += len(box.frames)
                box.frames.clear()
            else:
                self._changed.wait_for(lambda: box.is_stopped or len(box.frames) < AHEAD)
            if not box.is_stopped:
                box.frames.append(frame)
                self._changed.notify_all()
            return not box.is_stopped
