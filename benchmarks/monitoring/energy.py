"""Energy of a frame, over the power of the machine when it is idle.

The idle power is measured before a model is loaded. Each model then runs alone, for as long as its latency
was measured, because sensors are too slow for turns of a few frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter, sleep
from typing import Any

import numpy as np

from benchmarks.measure.footage import Footage
from devices.monitors.find import Sensors
from devices.monitors.monitor import Monitor
from devices.monitors.sensor import PowerMeter
from devices.monitors.trace import Trace
from edgestill.progress import progress
from runtime.detector import TimedDetector

#: A run has at least this many updates of the sensor, so that the one at each end is 5 % of it or less.
LEAST_UPDATES = 20
LEAST_RUN_S = 2.0
#: The spread of idle power is that of the means of so many parts of its time, each of several updates.
IDLE_PARTS = 6
_PART_UPDATES, _LEAST_PART_S = 5, 0.5
#: A run whose power is above idle by less than this many standard deviations of idle is no figure.
LEAST_SIGMAS = 2.0
_FRAMES = 4  # that are decoded together, as in a turn of the latency


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a trace, ``time.perf_counter``."""

    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Run:
    """One model running alone.

    Attributes:
        window: Its time.
        ends_s: The time at which each frame was done.
    """

    window: Window
    ends_s: Sequence[float]


def least_run_s(meter: PowerMeter) -> float:
    """Length of the shortest run that a meter can measure, seconds."""
    return max(LEAST_RUN_S, LEAST_UPDATES * meter.update_s)


def why_too_short(meter: PowerMeter, duration_s: float) -> str | None:
    """Why a meter cannot measure a run of that length; None if it can."""
    least_s = least_run_s(meter)
    if duration_s >= least_s:
        return None
    return (
        f"{duration_s:g} s are too short for {meter.name}, which is updated every {meter.update_s:g} s: "
        f"--duration-s {least_s:g} or more"
    )


def measure_idle(monitor: Monitor, sensors: Sensors, duration_s: float) -> Window | None:
    """Wait while the machine is idle, as long as the slowest meter needs.

    None if there is no meter that can measure runs of ``duration_s``.
    """
    known = [sensor.meter for sensor in sensors.sensors if sensor.meter]
    meters = [meter for meter in known if why_too_short(meter, duration_s) is None]
    if not meters:
        return None
    part_s = max(_LEAST_PART_S, *(_PART_UPDATES * meter.update_s for meter in meters))
    start_s = monitor.sample()
    sleep(IDLE_PARTS * part_s)
    return Window(start_s, monitor.sample())


#: Processes some frames, and tells the time at which each was done, ``time.perf_counter``.
Work = Callable[[], Sequence[float]]


class EnergyMeasurement:
    """Measures the energy of models on one machine, one after the other.

    Args:
        monitor: Reads the sensors.
        sensors: The sensors.
        idle: The time in which the machine was idle; None if it was not measured.
        duration_s: Length of each run, seconds.
    """

    def __init__(self, monitor: Monitor, sensors: Sensors, idle: Window | None, duration_s: float) -> None:
        self._monitor, self._sensors, self._idle, self._duration_s = monitor, sensors, idle, duration_s

    def of(self, work: Callable[[], Work], device: str) -> dict[str, Any]:
        """The figures of ``energy_figures`` for a model; it runs only if its device has a power meter.

        Args:
            work: Prepares the work of a model, which is then repeated without a pause.
            device: The device that its backend computes on.
        """
        meter = self._meter(device, self._duration_s)
        if isinstance(meter, str):
            return no_energy(meter)
        return self._figures(meter, measure_run(self._monitor, work(), self._duration_s))

    def of_run(self, run: Run, device: str) -> dict[str, Any]:
        """The same for a run that has been measured, as that of a camera with its pauses."""
        meter = self._meter(device, run.window.seconds)
        return no_energy(meter) if isinstance(meter, str) else self._figures(meter, run)

    def _meter(self, device: str, seconds: float) -> PowerMeter | str:
        """The power meter of a device; the reason if it cannot measure a run of that length."""
        meter = self._sensors.power_meter(device)
        if isinstance(meter, str):
            return meter
        return why_too_short(meter, seconds) or (meter if self._idle else "the idle power was not measured")

    def _figures(self, meter: PowerMeter, run: Run) -> dict[str, Any]:
        idle = self._idle or run.window  # never None where there is a meter
        return energy_figures(self._monitor.trace(), meter, idle, run)


def detecting(detector: TimedDetector, footage: Footage) -> Callable[[], Work]:
    """The work of detecting in one frame after the other, decoding included."""

    def prepared() -> Work:
        footage.restart()
        detector.timed(footage.take(1)[0].image_bgr)
        return work

    def work() -> list[float]:
        ends_s = []
        for frame in footage.take(_FRAMES):
            detector.timed(frame.image_bgr)
            ends_s.append(perf_counter())
        return ends_s

    return prepared


def measure_run(monitor: Monitor, work: Work, duration_s: float) -> Run:
    """Repeat the work of a model without a pause."""
    ends_s: list[float] = []
    seconds = max(1, int(duration_s))
    with progress("energy", seconds) as advance:
        start_s, shown = monitor.sample(), 0
        while perf_counter() - start_s < duration_s:
            ends_s += work()
            if (passed := min(int(perf_counter() - start_s), seconds)) > shown:
                advance(passed - shown)
                shown = passed
        return Run(Window(start_s, monitor.sample()), ends_s)


def energy_figures(trace: Trace, meter: PowerMeter, idle: Window, run: Run) -> dict[str, Any]:
    """``energy_mj`` of a frame with ``energy``, how it was found; null with ``energy_reason``.

    If the sensor was lost during the run, the figures are of the time before.
    """
    last_s = trace.last_s(meter)
    end_s = run.window.end_s if last_s is None else min(run.window.end_s, last_s)
    measured = Window(run.window.start_s, end_s)
    frames = sum(end <= measured.end_s for end in run.ends_s)
    lost = "; ".join(f"{name}: {reason}" for name, reason in trace.lost.items())
    if last_s is None or measured.seconds < least_run_s(meter) or frames == 0:
        return no_energy(f"the power sensor was lost ({lost})" if lost else "the power sensor gave no values")
    idle_mw, idle_sd_mw = _idle_power(trace, meter, idle)
    mean_mw = trace.energy_mj(meter, measured.start_s, measured.end_s) / measured.seconds
    over_mw = mean_mw - idle_mw
    energy = {
        "meter": meter.name,
        "covers": meter.covers,
        "method": "energy counter" if meter.counts_energy else "power, integrated over time",
        "mean_mw": round(mean_mw, 1),
        "idle_mw": round(idle_mw, 1),
        "idle_sd_mw": round(idle_sd_mw, 1),
        "idle_s": round(idle.seconds, 2),
        "run_s": round(measured.seconds, 2),
        "frames": frames,
    }
    if over_mw < LEAST_SIGMAS * idle_sd_mw:
        reason = (
            f"the mean power, {mean_mw / 1e3:.2f} W, is not above the idle power, {idle_mw / 1e3:.2f} W with "
            f"a standard deviation of {idle_sd_mw / 1e3:.2f} W"
        )
        return {**no_energy(reason), "energy": energy}
    return {"energy_mj": round(over_mw * measured.seconds / frames, 3), "energy": energy}


def no_energy(reason: str) -> dict[str, Any]:
    """The same keys where nothing was measured."""
    return {"energy_mj": None, "energy_reason": reason, "energy": None}


def _idle_power(trace: Trace, meter: PowerMeter, idle: Window) -> tuple[float, float]:
    """Mean and standard deviation of the idle power, mW, from the means of its parts."""
    bounds_s = np.linspace(idle.start_s, idle.end_s, IDLE_PARTS + 1)
    parts_mw = [
        trace.energy_mj(meter, start_s, end_s) / (end_s - start_s) for start_s, end_s in pairwise(bounds_s)
    ]
    return float(np.mean(parts_mw)), float(np.std(parts_mw, ddof=1))
