"""Watching sources from a program: an iterator of results that closes its cameras by itself."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from threading import Event, RLock
from types import TracebackType

from edgestill.errors import ToolchainError, UsageError
from edgestill.progress import say
from runtime.frames import Frame, FrameSource
from runtime.pipeline import FrameResult, Pipeline, Stream
from runtime.streams.arrivals import Arrivals
from runtime.streams.lane import Lane


class Watcher(Iterator[FrameResult]):
    """The results of the frames of some sources; ``edgestill.watch`` makes one. A context manager as well.

    Of a camera it yields the newest frame, of a file every one. It closes the sources and the model at the
    end, at an error, in ``close``, and when nothing refers to it any more, as after ``break``.

    One thread at a time may take results; ``close`` may be called by any thread, and ends the iteration of
    another one. Watchers share nothing, so each thread may have one of its own.

    Attributes:
        classes: Class names of the results.
        errors: What ended a source early, by its name. The others go on; the first of these errors is raised
            once no source is left.
    """

    def __init__(
        self, pipeline: Pipeline, classes: tuple[str, ...], streams: Sequence[Stream], opened: ExitStack
    ) -> None:
        self.classes = classes
        self.errors: dict[str, ToolchainError | OSError] = {}
        self._pipeline = pipeline
        self._lanes = [pipeline.lane(one) for one in streams]
        self._arrivals = pipeline.arrivals(streams)
        self._groups = iter(self._arrivals)
        self._waiting: deque[FrameResult] = deque()
        self._in_use, self._closed = RLock(), Event()
        self._arrivals.__enter__()
        sources = [one.source for one in streams]
        self._release = weakref.finalize(
            self, _release, self._arrivals, sources, opened, self._closed, self._in_use
        )

    def __iter__(self) -> Watcher:
        return self

    def __next__(self) -> FrameResult:
        """The result of the next frame.

        Raises:
            DataError: A file cannot be read.
            DeviceError: A camera stopped sending.
            UsageError: Another thread is taking a result.
        """
        if not self._in_use.acquire(blocking=False):
            raise UsageError(
                "two threads use one watcher at once", hint="give each thread a watcher of its own"
            )
        try:
            return self._next()
        except BaseException as error:
            is_closed = self._closed.is_set()
            self.close()
            if is_closed and isinstance(error, ToolchainError):  # as of a camera that another thread closed
                raise StopIteration from None
            raise
        finally:
            self._in_use.release()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the sources and the model; a second call does nothing."""
        self._release()

    def _next(self) -> FrameResult:
        while not self._waiting and not self._closed.is_set():
            frames: list[tuple[Lane, Frame]] = []
            group = next(self._groups, None)
            if group is None:
                break
            for arrival in group:
                lane = self._lanes[arrival.at]
                if arrival.frame is not None:
                    frames.append((lane, arrival.frame))
                elif arrival.error is not None:
                    self._note(lane.stream.name, arrival.error)
            if frames:
                self._waiting.extend(self._pipeline.results(frames))
        if self._waiting and not self._closed.is_set():
            return self._waiting.popleft()
        if self.errors and not self._closed.is_set():
            raise next(iter(self.errors.values()))
        raise StopIteration

    def _note(self, name: str, error: BaseException) -> None:
        """Keep the error of one source; any other error than of a source is raised."""
        if not isinstance(error, (ToolchainError, OSError)):
            raise error
        self.errors[name] = error
        if len(self._lanes) > 1 and not self._closed.is_set():
            say(f"{name}: {error.what if isinstance(error, ToolchainError) else error}")


def _release(
    arrivals: Arrivals, sources: Sequence[FrameSource], opened: ExitStack, closed: Event, in_use: RLock
) -> None:
    """Close what a watcher holds. No reference to it, as it is also called when there is none any more."""
    closed.set()
    arrivals.__exit__(None, None, None)  # no file is read any more
    for source in sources:
        source.close()  # wakes a thread that waits for a camera
    with in_use:
        opened.close()
