"""Queries to a detector, of frames that are in memory: one after the other, or all frames in one query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import ceil
from random import Random

from benchmarks.mlperf.rules import OFFLINE_MARGIN, SEED
from runtime.detector import TimedDetector
from runtime.frames import Frame


@dataclass(slots=True, kw_only=True)
class Queries:
    """What a run gave.

    Attributes:
        latencies_ms: Time of each query, from its issue to the boxes of all its frames.
        ends_s: For each frame, the time at which its boxes were there.
        stages_ms: Milliseconds by stage, of each query or, in one query, of each frame.
        found: Detections in all frames.
        seconds: Time from the first issue: to the last issue, or to the end of the one query.
    """

    latencies_ms: list[float] = field(default_factory=list)
    ends_s: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    found: int = 0
    seconds: float = 0.0

    def add_stages(self, stages_ms: dict[str, float]) -> None:
        """Add the times of a query or frame."""
        for stage, ms in stages_ms.items():
            self.stages_ms.setdefault(stage, []).append(ms)


def one_after_the_other(
    detector: TimedDetector,
    library: Sequence[Frame],
    samples: int,
    now_s: Callable[[], float],
    *,
    least_s: float,
    least_queries: int,
) -> Queries:
    """Issue each query when the one before is answered.

    Args:
        detector: The detector.
        library: Frames, drawn at random with replacement.
        samples: Frames of a query.
        now_s: The time, seconds.
        least_s: Queries are issued until one was issued this long after the first, seconds.
        least_queries: Smallest number of queries.
    """
    draw, taken = Random(SEED), Queries()
    start_s = now_s()
    while taken.seconds < least_s or len(taken.latencies_ms) < least_queries:
        images = [library[draw.randrange(len(library))].image_bgr for _ in range(samples)]
        issued_s = now_s()
        taken.seconds = issued_s - start_s
        found, stages_ms = detector.timed_batch(images)
        end_s = now_s()
        taken.latencies_ms.append((end_s - issued_s) * 1e3)
        taken.ends_s += [end_s] * samples
        taken.found += sum(map(len, found))
        taken.add_stages(stages_ms)
    return taken


def all_at_once(
    detector: TimedDetector,
    library: Sequence[Frame],
    concurrency: int,
    now_s: Callable[[], float],
    *,
    least_s: float,
    least_samples: int,
) -> Queries:
    """Issue one query of all frames, and wait for its end.

    Their number is what the detector does in ``least_s`` at the rate of a first part, and some more.

    Args:
        detector: The detector.
        library: Frames, drawn at random with replacement.
        concurrency: Calls of the detector at the same time.
        now_s: The time, seconds.
        least_s: Time that the query shall take at least, seconds.
        least_samples: Smallest number of frames.
    """
    with ThreadPoolExecutor(concurrency) as threads:
        first = _query(detector, library, max(concurrency, len(library)), threads, now_s)
        count = max(least_samples, ceil(OFFLINE_MARGIN * least_s * len(first.ends_s) / first.seconds))
        return _query(detector, library, count, threads, now_s)


def _query(
    detector: TimedDetector,
    library: Sequence[Frame],
    count: int,
    threads: ThreadPoolExecutor,
    now_s: Callable[[], float],
) -> Queries:
    draw, taken = Random(SEED), Queries()
    drawn = [draw.randrange(len(library)) for _ in range(count)]

    def detect(at: int) -> tuple[int, dict[str, float], float]:
        found, stages_ms = detector.timed(library[at].image_bgr)
        return len(found), stages_ms, now_s()

    start_s = now_s()
    for found, stages_ms, end_s in threads.map(detect, drawn):
        taken.found += found
        taken.ends_s.append(end_s)
        taken.add_stages(stages_ms)
    taken.seconds = max(taken.ends_s) - start_s
    return taken
