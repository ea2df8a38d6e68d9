"""What the scenarios with cameras have in common: ``paced`` has one of them, ``multi`` several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.measure import gpu_time
from benchmarks.measure.cameras import CameraRun, CameraSamples
from benchmarks.measure.collect import Settings
from benchmarks.measure.samples import STAGES, figures_of
from benchmarks.measure.session import Session
from benchmarks.measure.subjects import Subject
from benchmarks.measure.timeline import Timeline
from benchmarks.monitoring.energy import Run, Window
from benchmarks.statistics.compare import compare_models
from benchmarks.statistics.percentiles import percentile
from edgestill.errors import UsageError
from edgestill.progress import progress

AGE_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
#: Parts of the measured time whose samples are resampled together, see ``benchmarks.statistics.compare``.
ROUNDS = 16
#: Share of all frames. A few are missed where a file is opened again at its end.
MISSED_LIMIT = 0.01
SHARED = (
    "the network takes frames of several cameras at once, and their time is shared: age_ms is the latency"
)


class Cameras:
    """Cameras at a fixed rate, read by one model, which gets the newest frame of each.

    Args:
        name: The scenario.
        settings: How to measure.
        timeline: Makes the time of the run of one model.

    Raises:
        UsageError: The models are to take turns: a camera would have to wait for the other model.
    """

    kind, throughput, is_interleaved = "bench", False, False

    def __init__(self, name: str, settings: Settings, timeline: Callable[[], Timeline]) -> None:
        if settings.interleave:
            raise UsageError(
                f"--interleave with --scenario {name}: a camera does not wait for the other model",
                hint="leave --interleave out, or measure with --scenario single",
            )
        self.name, self._settings, self._timeline = name, settings, timeline
        cameras = "a camera" if settings.streams == 1 else f"{settings.streams} cameras"
        at_rate = f"{cameras} at {settings.fps:g} frames/s"
        self.arrival = {"arrival": at_rate}
        self.measures = f"{at_rate}, newest frame first, from encoded frame to boxes: {' + '.join(STAGES)}"
        self.facts: Mapping[str, Any] = {"fps": settings.fps, "streams": settings.streams}
        self._runs: list[Run] = []

    def measure(self, session: Session) -> list[dict[str, Any]]:
        """See ``benchmarks.measure.session.Scenario``; one model after the other."""
        found = []
        with progress("bench", len(session.subjects)) as advance:
            for subject in session.subjects:
                found.append(self._of(subject, session))
                session.watch.tick()
                advance()
        return found

    def energy(self, session: Session) -> list[dict[str, Any]]:
        """See ``benchmarks.measure.session.Scenario``; of the measured run, with its pauses."""
        return [
            session.energy.of_run(run, subject.detector.backend.device)
            for run, subject in zip(self._runs, session.subjects, strict=True)
        ]

    def compare(self, a: Mapping[str, Any], b: Mapping[str, Any], *, paired: bool) -> list[dict[str, Any]]:
        """See ``benchmarks.measure.session.Scenario``."""
        return compare_models(a, b, paired=paired)

    def _of(self, subject: Subject, session: Session) -> dict[str, Any]:
        settings = self._settings
        sources = [session.footage.again() for _ in range(settings.streams)]
        cameras = CameraRun(
            subject.tiled, sources, settings.fps, self._timeline(), most=subject.detector.max_batch
        )
        start_s = session.monitor.sample()
        taken = cameras.measure(
            duration_s=settings.duration_s, min_samples=settings.min_samples, warmup_s=settings.warmup_s
        )
        ends_s = [decision.decided_s for decision in taken.decisions]
        self._runs.append(Run(Window(max(start_s, taken.start_s), session.monitor.sample()), ends_s))
        gpu = gpu_time.figures_of(taken.samples.gpu_ms, subject.detector.backend.name)
        return {**camera_figures(taken), **gpu}


def camera_figures(taken: CameraSamples) -> dict[str, Any]:
    """Latency, age at the decision, and dropped frames of a run with cameras, as plain data."""
    length_s = taken.end_s - taken.start_s
    begins_s = [decision.decided_s - taken.start_s for decision in taken.decisions]
    taken.samples.rounds = [min(int(ROUNDS * s / length_s), ROUNDS - 1) for s in begins_s]
    figures = figures_of(taken.samples)
    if any(decision.together > 1 for decision in taken.decisions):
        for name in [key for key in figures if key.startswith(("p50_", "p90_", "p99_"))]:
            del figures[name]
        for name in ("p50", "p90", "p99"):
            figures |= {f"{name}_ms": None, f"{name}_reason": SHARED}
    return {
        **figures,
        "throughput_fps": round(len(taken.decisions) / length_s, 2),
        "measured_s": round(length_s, 3),
        **_ages(taken, None),
        **_drops(taken, None),
        "drops": {"replaced": sum(taken.replaced), "missed": sum(taken.missed)},
        "busy_share": round(taken.busy_s / length_s, 4),
        "cameras": [{**_ages(taken, at), **_drops(taken, at)} for at in range(len(taken.replaced))],
        "samples_age_ms": [round(decision.age_ms, 4) for decision in taken.decisions],
        "samples_camera": [decision.at for decision in taken.decisions],
        "doubts": [*figures["doubts"], *_doubts(taken)],
    }


def _ages(taken: CameraSamples, at: int | None) -> dict[str, Any]:
    """Percentiles of the age at the decision of one camera, or of all; null with the reason if too few."""
    ages_ms = [decision.age_ms for decision in taken.decisions if at in {None, decision.at}]
    found = {name: percentile(ages_ms, fraction) for name, fraction in AGE_PERCENTILES.items()}
    reasons = {name: p.reason for name, p in found.items() if p.reason}
    return {
        "age_ms": {name: None if p.value is None else round(p.value, 3) for name, p in found.items()},
        "age_upper_ms": {name: None if p.upper is None else round(p.upper, 3) for name, p in found.items()},
        **({"age_reason": reasons} if reasons else {}),
    }


def _drops(taken: CameraSamples, at: int | None) -> dict[str, Any]:
    return {
        "decided": taken.decided(at),
        "dropped": taken.dropped(at),
        "dropped_share": round(taken.dropped_share(at), 4),
    }


def _doubts(taken: CameraSamples) -> list[str]:
    missed, captured = sum(taken.missed), taken.dropped() + taken.decided()
    if missed <= MISSED_LIMIT * captured:
        return []
    return [f"decoding did not keep up with the cameras: {missed} of {captured} frames were left out"]
