"""Latency and energy of detectors from an encoded frame to boxes, one frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.arms.processes import arm_of, collect_in_processes
from benchmarks.measure import gpu_time
from benchmarks.measure.collect import Settings, collect
from benchmarks.measure.later_stages import LaterStages
from benchmarks.measure.samples import STAGES, Samples, figures_of
from benchmarks.measure.session import Session, run_scenario
from benchmarks.monitoring.energy import detecting
from benchmarks.statistics.compare import compare_models
from devices.monitors.find import Sensors, open_sensors


class SingleStream:
    """A closed loop: the next frame is taken when the boxes of the one before are there.

    Args:
        settings: How to measure.
    """

    name, kind, throughput = "single", "bench", False
    measures = "one frame at a time, from encoded frame to boxes: " + " + ".join(STAGES)

    def __init__(self, settings: Settings) -> None:
        self.is_interleaved = settings.interleave
        self.facts: Mapping[str, Any] = {}
        self.arrival: Mapping[str, str] = {}

    def measure(self, session: Session) -> list[dict[str, Any]]:
        """See ``benchmarks.measure.session.Scenario``."""
        with ExitStack() as stack:
            later = _later(session, stack)
            samples = _samples(session, later)
        figures = [
            {**figures_of(taken), **gpu_time.figures_of(taken.gpu_ms, subject.detector.backend.name)}
            for subject, taken in zip(session.subjects, samples, strict=True)
        ]
        for own, stages in zip(figures, later, strict=False):  # there may be none
            own["stages_reason"] = stages.reasons
        return figures

    def energy(self, session: Session) -> list[dict[str, Any]]:
        """See ``benchmarks.measure.session.Scenario``; each model runs again, alone."""
        return [
            session.energy.of(detecting(subject.tiled, session.footage), subject.detector.backend.device)
            for subject in session.subjects
        ]

    def compare(self, a: Mapping[str, Any], b: Mapping[str, Any], *, paired: bool) -> list[dict[str, Any]]:
        """See ``benchmarks.measure.session.Scenario``."""
        return compare_models(a, b, paired=paired)


def _samples(session: Session, later: Sequence[LaterStages]) -> list[Samples]:
    """The samples of each model, in this process or in fresh ones."""
    settings, subjects, tick = session.settings, session.subjects, session.watch.tick
    if settings.processes:
        arms = [arm_of(subject.path, subject.tiling, settings) for subject in subjects]
        return collect_in_processes(arms, session.footage, settings, tick)
    return collect([subject.tiled for subject in subjects], session.footage, settings, tick, later=later)


def _later(session: Session, stack: ExitStack) -> list[LaterStages]:
    """What measures the stages after the boxes of each model, if they are asked for."""
    make = session.settings.after_boxes
    if make is None:
        return []
    found = []
    for subject in session.subjects:
        classes = subject.tiled.spec.classes
        found.append(stack.enter_context(LaterStages(make(classes, subject.label), classes)))
    return found


def bench(
    models: Sequence[Path],
    settings: Settings,
    *,
    names: Sequence[str] | None = None,
    sensors: Callable[[], Sensors] = open_sensors,
) -> dict[str, Any]:
    """Measure model files, ``kind: bench``; see ``benchmarks.measure.session.run_scenario``."""
    return run_scenario(SingleStream(settings), models, settings, names=names, sensors=sensors)
