"""The figures of one source over a run."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from edgestill.errors import ToolchainError
from runtime.streams.results import FrameResult

RECENT = 10_000  # frames whose times are kept for the percentiles: a camera may run for weeks


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Totals of one source over a run.

    Attributes:
        frames: Frames that were processed.
        dropped: Frames of a live source that were not, the sum of ``drops``.
        drops: The same by cause, as ``replaced`` by a newer frame before they could be processed.
        detections: Number of detections by class name.
        tracks: Number of confirmed tracks; None without a tracker.
        stages_ms: Median milliseconds by stage of the latest frames. Of a file, ``decode`` runs in parallel
            with the others; so do ``save`` and, for files that are saved, ``draw``. Several frames of files
            are detected at the same time, each for longer than it would take alone.
        age_ms: Median ``FrameResult.age_ms`` of the latest frames of a live source; None for files.
        age_p95_ms: Its 95th percentile.
        age_p99_ms: Its 99th percentile.
        fps: Frames per second, from the start of the run to the end of this source.
        files: Files that were written.
    """

    frames: int
    dropped: int
    drops: Mapping[str, int]
    detections: Mapping[str, int]
    tracks: int | None
    stages_ms: Mapping[str, float]
    age_ms: float | None
    age_p95_ms: float | None
    age_p99_ms: float | None
    fps: float
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamEnd:
    """How one source of a run ended.

    Attributes:
        name: Name of the source.
        summary: Its figures.
        is_complete: Whether it ended as it should: at its last frame, or a camera at a signal.
        error: What ended it early; None if nothing did.
        last: Its latest result; None if it had no frame.
    """

    name: str
    summary: Summary
    is_complete: bool
    error: ToolchainError | OSError | None
    last: FrameResult | None


class Totals:
    """Accumulates the figures of ``Summary``; ``add_stages`` may be called by another thread."""

    def __init__(self) -> None:
        self.frames = 0
        self.seconds = 0.0  # of the stream, from the first frame to the last
        self._start_s = perf_counter()
        self._first_s: float | None = None
        self._classes: Counter[int] = Counter()
        self._tracks = 0
        self._stages_ms: dict[str, deque[float]] = {}
        self._ages_ms: deque[float] = deque(maxlen=RECENT)

    def add(self, result: FrameResult) -> None:
        """Count one result, with its stages so far."""
        self.frames += 1
        self._first_s = result.frame.time_s if self._first_s is None else self._first_s
        self.seconds = result.frame.time_s - self._first_s
        self._classes.update(result.detections.class_id.tolist())
        if result.track_id is not None:
            # A tracker counts its ids up from 1; a set of them would grow without end.
            self._tracks = max(self._tracks, int(result.track_id.max(initial=0)))
        self._ages_ms.append(result.age_ms)
        self.add_stages(result.stages_ms)

    def add_stages(self, stages_ms: Mapping[str, float]) -> None:
        """Add the times of further stages of a frame."""
        for stage, ms in stages_ms.items():
            self._stages_ms.setdefault(stage, deque(maxlen=RECENT)).append(ms)

    def summary(
        self,
        classes: tuple[str, ...],
        *,
        is_live: bool,
        has_tracks: bool,
        drops: Mapping[str, int],
        files: tuple[Path, ...],
    ) -> Summary:
        """The figures up to now."""
        ages = (
            np.percentile(self._ages_ms, (50, 95, 99)).tolist() if is_live and self._ages_ms else [None] * 3
        )
        return Summary(
            frames=self.frames,
            dropped=sum(drops.values()),
            drops=dict(drops),
            detections={classes[i]: n for i, n in sorted(self._classes.items())},
            tracks=self._tracks if has_tracks else None,
            stages_ms={stage: float(np.median(ms)) for stage, ms in self._stages_ms.items()},
            age_ms=ages[0],
            age_p95_ms=ages[1],
            age_p99_ms=ages[2],
            fps=self.frames / (perf_counter() - self._start_s),
            files=files,
        )
