"""What all scenarios have in common: models, frames, the watch on the machine, energy and cold starts.

A scenario says what it measures; ``run_scenario`` does the rest, so that the results of all scenarios have
the same keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.measure import cold
from benchmarks.measure.collect import Settings
from benchmarks.measure.environment import Watch
from benchmarks.measure.footage import PATTERN, Footage
from benchmarks.measure.stages import complete
from benchmarks.measure.subjects import Subject, identity, open_subjects, opening_options
from benchmarks.monitoring.energy import EnergyMeasurement, Window, measure_idle
from benchmarks.monitoring.summary import doubts as monitor_doubts
from benchmarks.monitoring.summary import summarise
from devices.monitors.find import Sensors, open_sensors
from devices.monitors.monitor import Monitor

COLD_FAILED = "the new process that loads the model failed: run `edgestill inspect MODEL`"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Session:
    """A measurement in progress, with its models loaded.

    Attributes:
        settings: How to measure.
        footage: The frames.
        subjects: What is measured, in the order of the results.
        watch: Records the conditions of the machine.
        sensors: The sensors of the machine.
        monitor: Reads them.
        energy: Measures energy.
    """

    settings: Settings
    footage: Footage
    subjects: Sequence[Subject]
    watch: Watch
    sensors: Sensors
    monitor: Monitor
    energy: EnergyMeasurement


class Scenario(Protocol):
    """One way in which frames arrive. An object is used for one measurement.

    Attributes:
        name: The scenario, as ``--scenario`` has it.
        kind: The kind of the result, see ``benchmarks.report.result_kind``.
        measures: What a figure covers, in words.
        throughput: Whether models are loaded for most frames a second, not for the lowest latency.
        facts: Keys of the result that only this scenario has.
        is_interleaved: Whether the models take turns.
        arrival: ``arrival``, how frames arrive, for the environment of each model; empty for one at a time.
    """

    name: str
    kind: str
    measures: str
    throughput: bool

    @property
    def facts(self) -> Mapping[str, Any]:
        """See above."""

    @property
    def is_interleaved(self) -> bool:
        """See above."""

    @property
    def arrival(self) -> Mapping[str, str]:
        """See above."""

    def measure(self, session: Session) -> list[dict[str, Any]]:
        """The figures of each subject as plain data, ``doubts`` among them."""

    def energy(self, session: Session) -> list[dict[str, Any]]:
        """The figures of ``benchmarks.monitoring.energy`` for each subject; after ``measure``."""

    def compare(self, a: Mapping[str, Any], b: Mapping[str, Any], *, paired: bool) -> list[dict[str, Any]]:
        """Comparisons of two models of the result."""


def run_scenario(
    scenario: Scenario,
    models: Sequence[Path],
    settings: Settings,
    *,
    names: Sequence[str] | None = None,
    sensors: Callable[[], Sensors] = open_sensors,
) -> dict[str, Any]:
    """Measure model files.

    Args:
        scenario: How frames arrive.
        models: Model files; the others are compared with the first.
        settings: How to measure.
        names: Names in the results; None for the shortest names that are unique.
        sensors: Opens the sensors of this machine.

    Returns:
        The result as plain data.

    Raises:
        ArtifactError: A file is missing or is not a detector.
        DataError: The source cannot be read.
        UsageError: The source is a camera, there is no such backend, or a file has another, fixed input size.
    """
    footage = Footage(settings.source)
    with ExitStack() as stack:
        labels = names or list(map(str, models))
        session = _open(
            models,
            labels,
            settings,
            footage=footage,
            sensors=sensors(),
            stack=stack,
            throughput=scenario.throughput,
        )
        results, environment, frames = _measured(scenario, session)
    doubts = [*environment.pop("doubts"), *frame_doubts(footage)]
    for result, subject in zip(results, session.subjects, strict=True):
        result.update(_cold_start(subject, settings, throughput=scenario.throughput))
        result["environment"] = {**environment, **result["environment"]}
        result["doubts"] += doubts
    return _assembled(scenario, settings, frames, results)


def _open(
    models: Sequence[Path],
    names: Sequence[str],
    settings: Settings,
    *,
    footage: Footage,
    sensors: Sensors,
    stack: ExitStack,
    throughput: bool,
) -> Session:
    """Measure the idle power, then load the models."""
    monitor = stack.enter_context(Monitor(sensors.sensors))
    idle = measure_idle(monitor, sensors, settings.duration_s)
    return Session(
        settings=settings,
        footage=footage,
        subjects=open_subjects(models, settings, names, stack, throughput=throughput),
        watch=Watch(),
        sensors=sensors,
        monitor=monitor,
        energy=EnergyMeasurement(monitor, sensors, idle, settings.duration_s),
    )


def _measured(
    scenario: Scenario, session: Session
) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """The results of all models, the conditions of the run, and the frames that were taken."""
    start_s = session.monitor.sample()
    figures = scenario.measure(session)
    run = Window(start_s, session.monitor.sample())
    environment, frames = session.watch.finish(), session.footage.describe()
    energy = scenario.energy(session)
    environment["monitors"] = summarise(session.monitor.trace(), session.sensors, run)
    environment["doubts"] += monitor_doubts(environment["monitors"])
    environment |= {**scenario.arrival, "threads": session.settings.threads or "library default"}
    results = [
        {
            **identity(subject),
            **own,
            **complete(own, subject.detector.backend),
            **spent,
            "environment": dict(subject.detector.backend.conditions),
        }
        for subject, own, spent in zip(session.subjects, figures, energy, strict=True)
    ]
    return results, environment, frames


def frame_doubts(footage: Footage) -> list[str]:
    """Reasons in the frames not to quote a result."""
    if footage.name != PATTERN:
        return []
    return ["the frames are a drawn test pattern; give --source for real ones"]


def _assembled(
    scenario: Scenario, settings: Settings, frames: Mapping[str, Any], results: list[dict[str, Any]]
) -> dict[str, Any]:
    is_paired = scenario.is_interleaved and len(results) > 1
    return {
        "kind": scenario.kind,
        "scenario": scenario.name,
        "measures": scenario.measures,
        **scenario.facts,
        "interleaved": is_paired,
        "footage": frames,
        "warmup_s": settings.warmup_s,
        "models": results,
        "ratios": [c for other in results[1:] for c in scenario.compare(results[0], other, paired=is_paired)],
    }


def _cold_start(subject: Subject, settings: Settings, *, throughput: bool) -> dict[str, Any]:
    """Time to the first result and memory of the model in new processes."""
    started = cold.measure(
        subject.path,
        tile=str(subject.tiling),
        tile_overlap=subject.tiling.overlap,
        throughput=throughput,
        **opening_options(settings),
    )
    found: dict[str, Any] = {
        "cold_start_ms": _sum(started["load_ms"], started["first_ms"]),
        "cold_start": {"runs": cold.RUNS, **started},
        "rss_mib": started["rss_mib"],
    }
    missing = [name for name in ("cold_start_ms", "rss_mib") if found[name] is None]
    return {**found, **{f"{name.rpartition('_')[0]}_reason": COLD_FAILED for name in missing}}


def _sum(*parts: float | None) -> float | None:
    return None if None in parts else round(sum(p for p in parts if p is not None), 2)
