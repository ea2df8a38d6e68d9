"""Simulated time: processes take their steps in order, and nothing waits for a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count
from types import TracebackType

from runtime.streams.waiting_frames import Signal


class SimulatedTime:
    """See ``benchmarks.measure.timeline.Timeline``; steps take no time but what ``advance`` is called for."""

    def __init__(self) -> None:
        self._now_s = 100.0
        self._order = count()
        self._due: list[tuple[float, int, Iterator[float]]] = []

    def now_s(self) -> float:
        return self._now_s

    def signal(self) -> Signal:
        return _Signal(self)

    def start(self, process: Iterator[float]) -> None:
        self._plan(process)

    def stop(self) -> None:
        self._due.clear()

    def advance(self, seconds: float) -> None:
        """Let time pass, as a detector does; what the cameras do in it is done."""
        end_s = self._now_s + seconds
        while self._due and self._due[0][0] <= end_s:
            self.step()
        self._now_s = max(self._now_s, end_s)

    def step(self) -> None:
        """Take the next step of any process."""
        due_s, _, process = heappop(self._due)
        self._now_s = max(self._now_s, due_s)
        self._plan(process)

    def _plan(self, process: Iterator[float]) -> None:
        due_s = next(process, None)
        if due_s is not None:
            heappush(self._due, (due_s, next(self._order), process))


class _Signal:
    def __init__(self, time: SimulatedTime) -> None:
        self._time = time

    def __enter__(self) -> bool:
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def wait_for(self, predicate: Callable[[], bool]) -> bool:
        while not predicate():
            self._time.step()
        return True

    def notify_all(self) -> None:
        pass
