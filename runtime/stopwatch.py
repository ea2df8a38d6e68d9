"""Wall time by named stage, in milliseconds, from the monotonic clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Stopwatch:
    """Wall time by stage of one frame.

    Attributes:
        stages_ms: Milliseconds by stage, in the order in which the stages first ran; the times of a stage
            that runs several times are added.
    """

    def __init__(self) -> None:
        self.stages_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage, also if the block raises."""
        start = perf_counter()
        try:
            yield
        finally:
            self.add(name, (perf_counter() - start) * 1e3)

    def add(self, name: str, ms: float) -> None:
        """Add time that was measured elsewhere, e.g. in the decoding thread."""
        self.stages_ms[name] = self.stages_ms.get(name, 0.0) + ms
