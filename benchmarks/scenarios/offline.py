"""Throughput of detectors: decoded frames to boxes, as many at the same time as the backend takes.

The rate of a turn is counted between two frames that leave, while frames before and after them are still in
progress: starting and running empty are not in it. Decoding is not in it either; the frames wait in memory,
as in MLPerf's Offline scenario.

Source: https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc (scenarios).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle, islice
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.measure.collect import Settings
from benchmarks.measure.footage import Footage
from benchmarks.measure.samples import STAGES
from benchmarks.measure.session import Session, run_scenario
from benchmarks.measure.subjects import Subject
from benchmarks.monitoring.energy import Work
from benchmarks.statistics.compare import (
    CONFIDENCE,
    LEAST_ROUNDS,
    PAIRED_MARGIN,
    SEPARATE_MARGIN,
    ratio_of_medians,
    verdict,
)
from devices.monitors.find import Sensors, open_sensors
from edgestill.progress import progress
from runtime.detector import TimedDetector
from runtime.frames import Frame

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
        left_s = self.all_of(frames, count + 2 * around)
        self.frames += count
        self.frame_ms.append((left_s[around + count - 1] - left_s[around - 1]) * 1e3 / count)
        return self.frame_ms[-1]

    def all_of(self, frames: Sequence[Frame], count: int) -> list[float]:
        """Detect in ``count`` frames; the times at which they were done, ``time.perf_counter``, in order."""
        left_s: list[float] = []

        def detect(frame: Frame) -> tuple[int, dict[str, float]]:
            found, stages_ms = self.detector.timed(frame.image_bgr)
            left_s.append(perf_counter())
            return len(found), stages_ms

        for found, stages_ms in self.threads.map(detect, islice(cycle(frames), count)):
            self.found += found
            for stage, ms in stages_ms.items():
                self.stages_ms.setdefault(stage, []).append(ms)
        return sorted(left_s)

    def forget(self) -> None:
        """Leave out what was measured so far."""
        self.frame_ms, self.stages_ms, self.frames, self.found = [], {}, 0, 0


class Offline:
    """All frames are there at once, and as many are in progress as the backend takes.

    Args:
        settings: How to measure.
    """

    name, kind, throughput = "offline", "offline", True
    measures = f"throughput, several decoded frames at a time to boxes: {' + '.join(STAGES[1:])}"

    def __init__(self, settings: Settings) -> None:
        self.is_interleaved = settings.interleave
        self.facts: Mapping[str, Any] = {}
        self.arrival = {"arrival": "all at once"}

    def measure(self, session: Session) -> list[dict[str, Any]]:
        """See ``benchmarks.measure.session.Scenario``."""
        with ExitStack() as stack:
            rates = [_rates(subject, stack) for subject in session.subjects]
            collect_rates(rates, session.footage, session.settings, session.watch.tick)
            return [_figures(rate) for rate in rates]

    def energy(self, session: Session) -> list[dict[str, Any]]:
        """See ``benchmarks.measure.session.Scenario``; each model runs again, alone."""
        with ExitStack() as stack:
            return [
                session.energy.of(
                    _turning(_rates(subject, stack), session.footage), subject.detector.backend.device
                )
                for subject in session.subjects
            ]

    def compare(self, a: Mapping[str, Any], b: Mapping[str, Any], *, paired: bool) -> list[dict[str, Any]]:
        """See ``benchmarks.measure.session.Scenario``."""
        return [_compared(a, b, paired=paired)]


def bench(
    models: Sequence[Path],
    settings: Settings,
    *,
    names: Sequence[str] | None = None,
    sensors: Callable[[], Sensors] = open_sensors,
) -> dict[str, Any]:
    """Measure throughput, ``kind: offline``; see ``benchmarks.measure.session.run_scenario``."""
    return run_scenario(Offline(settings), models, settings, names=names, sensors=sensors)


def _rates(subject: Subject, stack: ExitStack) -> Rates:
    calls = subject.detector.backend.concurrency
    return Rates(subject.tiled, stack.enter_context(ThreadPoolExecutor(calls)), calls)


def _turning(rates: Rates, footage: Footage) -> Callable[[], Work]:
    """The work of turns with the same frames, for the measurement of energy."""

    def prepared() -> Work:
        footage.restart()
        frames = footage.take(HELD)
        rates.turn(frames, rates.concurrency)
        return lambda: rates.all_of(frames, max(HELD, 4 * rates.concurrency))

    return prepared


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
        "gpu_compute_ms": None,
        "gpu_compute_reason": NO_LATENCY,
        "doubts": [],
    }


def _compared(a: Mapping[str, Any], b: Mapping[str, Any], *, paired: bool) -> dict[str, Any]:
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
