"""The one clock for stages: monotonic, in milliseconds, by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Stopwatch:
    """Wall time by stage of one frame.

    Attributes:
        stages_ms: Milliseconds by stage, in the order in which the stages first ran; a stage that runs
            twice adds up.
    """

    def __init__(self) -> None:
        self.stages_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block; a block that raises is counted too."""
        start = perf_counter()
        try:
            yield
        finally:
            self.add(name, (perf_counter() - start) * 1e3)

    def add(self, name: str, ms: float) -> None:
        """Count time that was measured elsewhere, e.g. in the thread that decodes the video."""
        self.stages_ms[name] = self.stages_ms.get(name, 0.0) + ms
