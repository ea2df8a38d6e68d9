"""Time as cameras and the loop that reads them see it: the clock of the machine, or a simulation of it."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Condition, Event, Thread
from time import perf_counter
from typing import Protocol

from runtime.streams.waiting_frames import Signal


class Timeline(Protocol):
    """Runs processes beside the caller: iterators of the times at which they go on, seconds."""

    def now_s(self) -> float:
        """The time, seconds."""

    def signal(self) -> Signal:
        """What the caller waits on for something that a process does."""

    def start(self, process: Iterator[float]) -> None:
        """Run a process: each value that it yields is the time at which its next step begins."""

    def stop(self) -> None:
        """End all processes, each before its next step."""


class SystemTimeline:
    """The monotonic clock, ``time.perf_counter``, with a thread for each process."""

    def __init__(self) -> None:
        self._stopping = Event()
        self._threads: list[Thread] = []

    def now_s(self) -> float:
        """See ``Timeline``."""
        return perf_counter()

    def signal(self) -> Signal:
        """See ``Timeline``."""
        return Condition()

    def start(self, process: Iterator[float]) -> None:
        """See ``Timeline``."""
        thread = Thread(target=self._run, args=(process,), name=f"camera {len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """See ``Timeline``."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, process: Iterator[float]) -> None:
        for due_s in process:
            if self._stopping.wait(max(due_s - perf_counter(), 0.0)):
                return
