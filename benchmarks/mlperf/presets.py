"""``bench --preset``: a measurement by the rules of a scenario of MLPerf.

Frames are decoded before, and a query is timed from decoded frames to boxes, with pre- and post-processing.
A run that is shorter than the rules ask for is possible; its result says what it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.measure import gpu_time
from benchmarks.measure.collect import WARMUP_RUNS, Settings
from benchmarks.measure.samples import PERCENTILES, STAGES
from benchmarks.measure.session import Session, run_scenario
from benchmarks.measure.subjects import Subject
from benchmarks.measure.timeline import SystemTimeline, Timeline
from benchmarks.mlperf.queries import Queries, all_at_once, one_after_the_other
from benchmarks.mlperf.rules import LEAST_S, LIBRARY, NOTE, RULES, SEED, Rule
from benchmarks.monitoring.energy import Run, Window
from benchmarks.statistics.percentiles import CONFIDENCE, early_stopping_rank, least_samples, percentile
from devices.monitors.find import Sensors, open_sensors
from edgestill.errors import UsageError
from runtime.frames import Frame

ONE_QUERY = "all frames are in one query: mlperf-single-stream measures latency"


def defaults(preset: str, *, duration_s: float | None, min_samples: int | None) -> tuple[float, int]:
    """Time in seconds and number of queries of a run; a given time alone makes it shorter than the rules."""
    if duration_s is None:
        return LEAST_S, RULES[preset].least_queries if min_samples is None else min_samples
    return duration_s, 1 if min_samples is None else min_samples


class Preset:
    """A scenario of MLPerf.

    Args:
        name: A key of ``RULES``.
        settings: How to measure; ``min_samples`` is the number of queries.
        timeline: The time.

    Raises:
        UsageError: The models are to take turns, which the rules do not have.
    """

    kind, is_interleaved = "mlperf", False

    def __init__(self, name: str, settings: Settings, timeline: Timeline) -> None:
        if settings.interleave:
            raise UsageError(f"--interleave with --preset {name}", hint="leave --interleave out")
        self.name, self._settings, self._timeline = name, settings, timeline
        self._rule = RULES[name]
        self.throughput = self._rule.samples_per_query is None
        samples = self._rule.samples_per_query
        what = "all frames in one query" if samples is None else f"queries of {samples} frames, one at a time"
        self.measures = f"{what}, from decoded frame to boxes: {' + '.join(STAGES[1:])}"
        self.facts: Mapping[str, Any] = {"rules": self._rule.title, "note": NOTE}
        self.arrival = {"arrival": name}
        self._runs: list[Run] = []

    def measure(self, session: Session) -> list[dict[str, Any]]:
        """See ``benchmarks.measure.session.Scenario``; one model after the other, with the same frames."""
        library = session.footage.take(LIBRARY)
        return [self._of(subject, library, session) for subject in session.subjects]

    def energy(self, session: Session) -> list[dict[str, Any]]:
        """See ``benchmarks.measure.session.Scenario``; of the measured run."""
        return [
            session.energy.of_run(run, subject.detector.backend.device)
            for run, subject in zip(self._runs, session.subjects, strict=True)
        ]

    def compare(self, a: Mapping[str, Any], b: Mapping[str, Any], *, paired: bool) -> list[dict[str, Any]]:
        """None: runs one after the other say less of a ratio than ``--interleave``."""
        del a, b, paired
        return []

    def _of(self, subject: Subject, library: Sequence[Frame], session: Session) -> dict[str, Any]:
        begin_s, runs = self._timeline.now_s(), 0
        while runs < WARMUP_RUNS or self._timeline.now_s() - begin_s < self._settings.warmup_s:
            subject.tiled.timed(library[runs % len(library)].image_bgr)
            runs += 1
        start_s, gpu_ms = session.monitor.sample(), gpu_time.total_ms(subject.tiled)
        taken = self._queries(subject, library)
        self._runs.append(Run(Window(start_s, session.monitor.sample()), taken.ends_s))
        session.watch.tick()
        figures = query_figures(taken, self._rule)
        if gpu_ms is None:
            return {**figures, **gpu_time.figures_of([], subject.detector.backend.name)}
        spent_ms = ((gpu_time.total_ms(subject.tiled) or 0.0) - gpu_ms) / len(taken.ends_s)
        return {**figures, "gpu_compute_ms": {"mean": round(spent_ms, 4)}}

    def _queries(self, subject: Subject, library: Sequence[Frame]) -> Queries:
        seconds, count, now_s = self._settings.duration_s, self._settings.min_samples, self._timeline.now_s
        if self._rule.samples_per_query is None:
            calls = subject.detector.backend.concurrency
            return all_at_once(subject.tiled, library, calls, now_s, least_s=seconds, least_samples=count)
        samples = self._rule.samples_per_query
        return one_after_the_other(
            subject.tiled, library, samples, now_s, least_s=seconds, least_queries=count
        )


def query_figures(taken: Queries, rule: Rule) -> dict[str, Any]:
    """The figures of a run as plain data; ``mlperf`` has what the rules ask for."""
    frames = len(taken.ends_s)
    queries = frames if rule.samples_per_query is None else len(taken.latencies_ms)
    doubts = list(rule.lacks(seconds=taken.seconds, queries=queries))
    if taken.found == 0:
        doubts.append("there were no detections in any frame, so NMS took no time")
    busy_s = taken.seconds if rule.samples_per_query is None else sum(taken.latencies_ms) / 1e3
    fps = round(frames / busy_s, 2)
    return {
        "samples": frames,
        "queries": queries if rule.samples_per_query else 1,
        **_percentiles(taken.latencies_ms),
        "throughput_fps": fps,
        "stages_ms": {
            stage: round(median(ms) / (rule.samples_per_query or 1), 3)
            for stage, ms in taken.stages_ms.items()
        },
        "detections_per_frame": round(taken.found / frames, 2),
        "mlperf": {
            "scenario": rule.title,
            "is_official": False,
            "is_complete": not list(rule.lacks(seconds=taken.seconds, queries=queries)),
            "metric": rule.metric,
            **(_result(taken.latencies_ms, rule.fraction) if rule.fraction else {"value": fps}),
            "seconds": round(taken.seconds, 3),
            "least_s": LEAST_S,
            "least_queries": rule.least_queries,
            "samples_per_query": rule.samples_per_query or frames,
            "library": LIBRARY,
            "seed": SEED,
        },
        "samples_query_ms": [round(ms, 4) for ms in taken.latencies_ms],
        "doubts": doubts,
    }


def _percentiles(latencies_ms: Sequence[float]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, fraction in PERCENTILES.items():
        p = percentile(latencies_ms, fraction)
        figures[f"{name}_ms"] = None if p.value is None else round(p.value, 3)
        if p.reason:
            figures[f"{name}_reason"] = p.reason if latencies_ms else ONE_QUERY
    return figures


def _result(latencies_ms: Sequence[float], fraction: float) -> dict[str, Any]:
    """The percentile as LoadGen takes it, and its early-stopping estimate; null with the reason."""
    ordered = np.sort(np.asarray(latencies_ms, np.float64))
    rank = early_stopping_rank(len(ordered), fraction)
    found: dict[str, Any] = {
        "percentile": fraction,
        "value": round(float(ordered[min(int(len(ordered) * fraction), len(ordered) - 1)]), 4),
        "confidence": CONFIDENCE,
        "early_stopping_ms": round(float(ordered[-rank]), 4) if rank else None,
        "discarded": max(rank - 1, 0),
    }
    if not rank:
        least = least_samples(fraction, 2)
        found["early_stopping_reason"] = f"early stopping needs {least} queries; there are {len(ordered)}"
    return found


def bench(
    preset: str,
    models: Sequence[Path],
    settings: Settings,
    *,
    names: Sequence[str] | None = None,
    sensors: Callable[[], Sensors] = open_sensors,
    timeline: Timeline | None = None,
) -> dict[str, Any]:
    """Measure model files by the rules of a preset, ``kind: mlperf``.

    Args:
        preset: A key of ``RULES``.
        models: Model files.
        settings: How to measure; see ``defaults`` for the time and the number of queries.
        names: Names in the results; None for the shortest names that are unique.
        sensors: Opens the sensors of this machine.
        timeline: The time; None for the clock of this machine.
    """
    scenario = Preset(preset, settings, timeline or SystemTimeline())
    return run_scenario(scenario, models, settings, names=names, sensors=sensors)
