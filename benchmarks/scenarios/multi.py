"""Several cameras at ``--fps`` each, read by one model: age of a frame at the decision, share dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure.collect import Settings
from benchmarks.measure.session import run_scenario
from benchmarks.measure.timeline import SystemTimeline, Timeline
from benchmarks.scenarios._cameras import Cameras
from devices.monitors.find import Sensors, open_sensors


def bench(
    models: Sequence[Path],
    settings: Settings,
    *,
    names: Sequence[str] | None = None,
    sensors: Callable[[], Sensors] = open_sensors,
    timeline: Callable[[], Timeline] = SystemTimeline,
) -> dict[str, Any]:
    """Measure model files with ``settings.streams`` cameras, ``kind: bench``.

    See ``benchmarks.measure.session.run_scenario``.

    Args:
        models: Model files; the others are compared with the first.
        settings: How to measure.
        names: Names in the results; None for the shortest names that are unique.
        sensors: Opens the sensors of this machine.
        timeline: Makes the time of the run of one model.
    """
    scenario = Cameras("multi", settings, timeline)
    return run_scenario(scenario, models, settings, names=names, sensors=sensors)
