"""Throughput of detectors: decoded frames to boxes, as many at the same time as the backend takes.

The rate of a turn is counted between two frames that leave, while frames before and after them are still in
progress: starting and running empty are not in it. Decoding is not in it either; the frames wait in memory,
as in MLPerf's Offline scenario.

Source: https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc (scenarios).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import cycle, islice
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.measure.collect import Settings
from benchmarks.measure.environment import Watch
from benchmarks.measure.footage import Footage
from benchmarks.measure.samples import STAGES
from benchmarks.scenarios.single import frame_doubts, identity, subjects_of
from benchmarks.statistics.compare import (
    CONFIDENCE,
    LEAST_ROUNDS,
    PAIRED_MARGIN,
    SEPARATE_MARGIN,
    ratio_of_medians,
    verdict,
)
from edgestill.progress import progress
from runtime.detector import TimedDetector, open_detector
from runtime.frames import Frame
from runtime.tiling import TiledDetector

HELD = 16  # decoded frames of a turn, which are repeated
NO_LATENCY = "with several frames in progress the time of one says nothing: --scenario single measures it"


@dataclass(slots=True, eq=False)
class Rates:
    """The turns of one detector.

    Attributes:
        detector: The detector.
        threads: What calls it.
        concurrency: Number of these threads.
        frame_ms: Milliseconds a frame, of each turn.
        stages_ms: Milliseconds by stage of each frame, which is detected beside others.
        frames: Frames that were counted.
        found: Detections in all frames.
    """

    detector: TimedDetector
    threads: ThreadPoolExecutor
    concurrency: int
    frame_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    frames: int = 0
    found: int = 0

    def turn(self, frames: Sequence[Frame], count: int) -> float:
        """Detect in ``count`` frames and some before and after them; milliseconds a frame."""
        around = self.concurrency
        left_s: list[float] = []

        def detect(frame: Frame) -> tuple[int, dict[str, float]]:
            found, stages_ms = self.detector.timed(frame.image_bgr)
            left_s.append(perf_counter())
            return len(found), stages_ms

        results = list(self.threads.map(detect, islice(cycle(frames), count + 2 * around)))
        left_s.sort()
        for found, stages_ms in results:
            self.found += found
            for stage, ms in stages_ms.items():
                self.stages_ms.setdefault(stage, []).append(ms)
        self.frames += count
        self.frame_ms.append((left_s[around + count - 1] - left_s[around - 1]) * 1e3 / count)
        return self.frame_ms[-1]

    def forget(self) -> None:
        """Leave out what was measured so far."""
        self.frame_ms, self.stages_ms, self.frames, self.found = [], {}, 0, 0


def bench_offline(
    models: Sequence[Path], settings: Settings, *, names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Measure the throughput of model files.

    Args:
        models: Model files; the others are compared with the first.
        settings: How to measure.
        names: Names in the results; None for the shortest names that are unique.

    Returns:
        The result as plain data, ``kind: offline``.

    Raises:
        ArtifactError: A file is missing or is not a detector.
        DataError: The source cannot be read.
        UsageError: The source is a camera, there is no such backend, or a file has another, fixed input size.
    """
    footage = Footage(settings.source)
    with ExitStack() as stack:
        detectors = [
            stack.enter_context(
                closing(
                    open_detector(
                        path,
                        backend=settings.backend,
                        threads=settings.threads,
                        trust_engine=settings.trust_engine,
                        input_hw=settings.input_hw,
                        throughput=True,
                    )
                )
            )
            for path in models
        ]
        watch = Watch()
        subjects = subjects_of(models, detectors, settings.tilings, names or list(map(str, models)))
        rates = []
        for subject in subjects:
            calls = subject.detector.backend.concurrency
            threads = stack.enter_context(ThreadPoolExecutor(calls))
            rates.append(Rates(TiledDetector(subject.detector, subject.tiling), threads, calls))
        collect_rates(rates, footage, settings, watch.tick)
        environment = watch.finish()
        results = [
            {**identity(subject), **_figures(taken)} for subject, taken in zip(subjects, rates, strict=True)
        ]
    common = [*environment.pop("doubts"), *frame_doubts(footage)]
    for result in results:
        result["environment"] = {**environment, "threads": settings.threads or "library default"}
        result["doubts"] = common
    is_paired = settings.interleave and len(subjects) > 1
    return {
        "kind": "offline",
        "scenario": "offline",
        "measures": f"throughput, several decoded frames at a time to boxes: {' + '.join(STAGES[1:])}",
        "interleaved": is_paired,
        "footage": footage.describe(),
        "warmup_s": settings.warmup_s,
        "models": results,
        "ratios": [_compared(results[0], other, paired=is_paired) for other in results[1:]],
    }


def collect_rates(
    rates: Sequence[Rates], footage: Footage, settings: Settings, tick: Callable[[], None]
) -> None:
    """Warm up, then measure all detectors in at least ``LEAST_ROUNDS`` turns, each with the same frames."""
    frames = footage.take(HELD)
    turn_ms = max(settings.duration_s / LEAST_ROUNDS, 0.001) * 1e3
    counts = []
    for rate in rates:
        start_s, frame_ms = perf_counter(), rate.turn(frames, rate.concurrency)
        while perf_counter() - start_s < settings.warmup_s:
            frame_ms = rate.turn(frames, rate.concurrency)
        rate.forget()
        least = ceil(settings.min_samples / LEAST_ROUNDS)
        counts.append(max(ceil(turn_ms / frame_ms), least, rate.concurrency))
    numbers = range(len(rates))
    groups = [list(numbers)] if settings.interleave else [[k] for k in numbers]
    with progress("bench", LEAST_ROUNDS * len(rates)) as advance:
        for group in groups:
            footage.restart()
            for round_number in range(LEAST_ROUNDS):
                frames = footage.take(HELD)
                for k in group if round_number % 2 == 0 else reversed(group):
                    rates[k].turn(frames, counts[k])
                    advance()
                tick()


def _figures(rate: Rates) -> dict[str, Any]:
    frame_ms = median(rate.frame_ms)
    percentiles = ("p50", "p90", "p99")
    return {
        "throughput_fps": round(1e3 / frame_ms, 2),
        "frame_ms": round(frame_ms, 3),
        "concurrency": rate.concurrency,
        "samples": rate.frames,
        "samples_frame_ms": [round(ms, 4) for ms in rate.frame_ms],
        **{f"{name}_ms": None for name in percentiles},
        **{f"{name}_reason": NO_LATENCY for name in percentiles},
        "stages_ms": {stage: round(median(ms), 3) for stage, ms in rate.stages_ms.items()},
        "detections_per_frame": round(rate.found / max(sum(map(len, rate.stages_ms.values())), 1), 2),
        **dict.fromkeys(("cold_start_ms", "rss_mib", "energy_mj")),
    }


def _compared(a: dict[str, Any], b: dict[str, Any], *, paired: bool) -> dict[str, Any]:
    """The comparison of two models; as ``benchmarks.statistics.compare.compare_models``."""
    first, second = ([np.asarray([ms]) for ms in model["samples_frame_ms"]] for model in (a, b))
    ratio, low, high = ratio_of_medians(first, second, paired=paired)
    margin = PAIRED_MARGIN if paired else SEPARATE_MARGIN
    decided = verdict(low, high, margin)
    wide = f"the interval {low:.3f} to {high:.3f} is not beyond {1 - margin:g} or {1 + margin:g}"
    return {
        "a": a["name"],
        "b": b["name"],
        "measure": "throughput",
        "a_ms": a["frame_ms"],
        "b_ms": b["frame_ms"],
        "ratio": round(ratio, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "confidence": CONFIDENCE,
        "paired": paired,
        "verdict": decided,
        "reason": wide if decided == "can't tell" else None,
        "margin": margin,
    }
