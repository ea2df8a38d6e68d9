"""Power, clocks, temperatures and throttling of a run, as plain data for a result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.monitoring.energy import Window
from devices.monitors.find import Sensors
from devices.monitors.throttling import find_throttling
from devices.monitors.trace import Series, Trace, power_of

_DIGITS = 1


def summarise(trace: Trace, sensors: Sensors, run: Window) -> dict[str, Any]:
    """What the monitors said before, during and after a run.

    Each figure has ``before`` and ``after``, the last value before the run and the first after it, and
    ``min``, ``median``, ``mean`` and ``max`` during it.
    """
    counted = {name: power_of(series) for name, series in trace.of("energy_mj")}
    power = {name: series for name, series in (*trace.of("power_mw"), *counted.items()) if len(series)}
    throttling = find_throttling(trace, run.start_s, run.end_s)
    return {
        "sensors": [sensor.name for sensor in sensors.sensors],
        "missing": dict(sensors.missing),
        "lost": dict(trace.lost),
        "samples": trace.samples,
        "cost_cores": round(trace.cpu_s / trace.wall_s, 5) if trace.wall_s else 0.0,
        "power_mw": _figures(power, run),
        "clocks_mhz": _figures(dict(trace.of("clock_mhz")), run),
        "temperatures_c": _figures(dict(trace.of("temperature_c")), run),
        "throttled": throttling.throttled,
        "throttle_reasons": list(throttling.reasons),
    }


def doubts(monitors: Mapping[str, Any]) -> Iterator[str]:
    """Reasons in them not to quote a figure of the run."""
    if monitors["throttled"]:
        yield f"the machine was throttled during the run: {', '.join(monitors['throttle_reasons'])}"
    for name, reason in monitors["lost"].items():
        yield f"the sensor {name} was lost: {reason}"


def in_words(monitors: Mapping[str, Any]) -> str:
    """Clocks, highest temperature and throttling as one line."""
    clocks = [
        f"{name} {c['median']:.0f} MHz ({c['min']:.0f} to {c['max']:.0f})"
        for name, c in monitors["clocks_mhz"].items()
    ]
    zones = monitors["temperatures_c"]
    hottest = max(zones, key=lambda name: zones[name]["max"], default=None)
    heat = f"{hottest} {zones[hottest]['before']:.0f} to {zones[hottest]['max']:.0f} C" if hottest else None
    state = {None: "throttling unknown", True: "throttled", False: "not throttled"}[monitors["throttled"]]
    why = monitors["throttle_reasons"]
    parts = [*clocks, heat or "no temperature", f"{state} ({', '.join(why)})" if why else state]
    return ", ".join(parts if clocks else ["no clocks", *parts])


def energy_in_words(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line on the energy of each model, and one for each reason why there is none."""
    lines = [_energy_line(model["name"], model) for model in models if model.get("energy_mj") is not None]
    reasons: dict[str, list[str]] = {}
    for model in models:
        if model.get("energy_reason"):
            reasons.setdefault(model["energy_reason"], []).append(model["name"])
    for reason, names in reasons.items():
        about = "" if len(names) == len(models) else f" of {', '.join(names)}"
        lines.append(f"energy{about}: not measured, because {reason}")
    return lines


def _energy_line(name: str, model: Mapping[str, Any]) -> str:
    energy = model["energy"]
    mean, idle, spread = (f"{energy[key] / 1e3:.2f} W" for key in ("mean_mw", "idle_mw", "idle_sd_mw"))
    return (
        f"energy of {name}: {model['energy_mj']:.1f} mJ a frame over idle; mean {mean}, idle {idle} "
        f"(standard deviation {spread} in {energy['idle_s']:.0f} s); "
        f"{energy['meter']}, {energy['covers']}"
    )


def _figures(series: Mapping[str, Series], run: Window) -> dict[str, dict[str, float]]:
    return {name: found for name, one in series.items() if (found := _figure(one, run))}


def _figure(series: Series, run: Window) -> dict[str, float] | None:
    """One figure; None if the channel has no value during the run."""
    during = series.between(run.start_s, run.end_s).values
    if not len(during):
        return None
    before = series.values[series.times_s <= run.start_s]
    after = series.values[series.times_s >= run.end_s]
    found = {
        "before": before[-1] if len(before) else during[0],
        "min": during.min(),
        "median": np.median(during),
        "mean": during.mean(),
        "max": during.max(),
        "after": after[0] if len(after) else during[-1],
    }
    return {name: round(float(value), _DIGITS) for name, value in found.items()}
