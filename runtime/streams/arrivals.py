"""The frames of one or several sources as they arrive, fair between the sources.

A file is decoded ahead by a thread of its own, and every frame arrives. Of several cameras a thread each
takes the frames, and only the newest one of each waits here; a camera alone needs no thread, as its source
yields the newest frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Thread
from types import TracebackType

from runtime.frames import FrameSource
from runtime.streams.waiting_frames import Arrival, WaitingFrames


class Arrivals:
    """Iterates over groups of arrivals; at most one of each source is in a group. A context manager.

    The iterator waits until a source has a frame, and does not wait for the others. Where more sources are
    ready than ``most``, those that were not served last come first.

    Args:
        sources: The sources; the caller closes them, after this context manager.
        most: Largest number of frames in a group; None for one of each source.
    """

    def __init__(self, sources: Sequence[FrameSource], *, most: int | None = 1) -> None:
        self._sources = tuple(sources)
        self._waiting = WaitingFrames([source.is_live for source in sources], most=most)
        self._threads: list[Thread] = []

    def __enter__(self) -> Arrivals:
        if not self._is_one_camera:
            for at in range(len(self._sources)):
                thread = Thread(target=self._fill, args=(at,), name=f"source {at}", daemon=True)
                self._threads.append(thread)
                thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for at in range(len(self._sources)):
            self.stop(at)
        for source, thread in zip(self._sources, self._threads, strict=False):  # one camera has no thread
            # A camera may be waited for: its thread ends with the next frame, or when the source is closed.
            if not source.is_live:
                thread.join()

    def __iter__(self) -> Iterator[list[Arrival]]:
        return self._of_one_camera() if self._is_one_camera else self._groups()

    def stop(self, at: int) -> None:
        """Take no more frames of a source."""
        self._waiting.stop(at)

    def replaced(self, at: int) -> int:
        """Number of frames of a camera that a newer one replaced here, beside those its source counts."""
        return self._waiting.replaced(at)

    @property
    def _is_one_camera(self) -> bool:
        return len(self._sources) == 1 and self._sources[0].is_live

    def _of_one_camera(self) -> Iterator[list[Arrival]]:
        frames = self._sources[0].frames()
        while not self._waiting.is_stopped(0):
            try:
                frame = next(frames, None)
            except Exception as error:  # the consumer tells it from errors of its own
                yield [Arrival(at=0, error=error)]
                return
            yield [Arrival(at=0, frame=frame)]
            if frame is None:
                return

    def _groups(self) -> Iterator[list[Arrival]]:
        while group := self._waiting.take():
            yield group

    def _fill(self, at: int) -> None:
        """Read a source to its end, in its thread."""
        error: BaseException | None = None
        try:
            for frame in self._sources[at].frames():
                if not self._waiting.put(at, frame):
                    return
        except BaseException as failed:  # it is raised, or told, where the frames are taken
            error = failed
        self._waiting.end(at, error)
