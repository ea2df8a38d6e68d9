"""The conditions of a measurement: the machine, its software, and who else was using it."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import asdict
from datetime import datetime, timezone
from time import perf_counter
from typing import Any

import numpy as np

import edgestill
from devices.detect import detect
from devices.linux import CpuTimes, read_cpu_times, read_load, read_temperatures
from devices.software import versions

LIBRARIES = ("numpy", "opencv-python", "onnxruntime", "openvino")

STEAL_LIMIT = 0.01  # of the CPU time
OTHERS_LIMIT = 0.1  # cores
CLOCK_LIMIT = 0.05  # change of a fixed piece of work from before to after
NOISE_LIMIT = 0.10  # spread of the same, from its 10th to its 90th percentile
CALM_GOVERNORS = {"performance", "userspace"}

_WORK = bytes(1 << 20)
_REPEATS = 9


class Watch:
    """Looks at the machine before, during and after a run.

    A fixed piece of single-core work is timed again and again: where it slows down, so did the models, and
    no change of model explains it.
    """

    def __init__(self) -> None:
        self._machine = detect()
        self._started = datetime.now(timezone.utc)
        self._load = read_load()
        self._before_ms = _calibrate(_REPEATS)
        self._during_ms: list[float] = []
        self._ticks, self._own_s, self._clock_s = read_cpu_times(), _own_cpu_s(), perf_counter()

    def tick(self) -> None:
        """Time the fixed piece of work once, between two rounds."""
        self._during_ms.append(_calibrate(1))

    def finish(self) -> dict[str, Any]:
        """The record of conditions, plain data, with ``doubts``."""
        wall_s = perf_counter() - self._clock_s
        own_s, ticks = _own_cpu_s() - self._own_s, read_cpu_times()
        after_ms = _calibrate(_REPEATS)
        during = np.asarray([self._before_ms, *self._during_ms, after_ms])
        low, middle, high = (float(v) for v in np.quantile(during, (0.1, 0.5, 0.9)))
        record: dict[str, Any] = {
            "started": self._started.isoformat(timespec="seconds"),
            "wall_s": round(wall_s, 2),
            "machine": asdict(self._machine),
            "python": platform.python_version(),
            "versions": {"edgestill": edgestill.__version__, **versions(LIBRARIES)},
            "load_before": self._load,
            "steal": _steal(self._ticks, ticks),
            "others_cores": _others(self._ticks, ticks, own_s, wall_s),
            "calibration_ms": {
                "before": round(self._before_ms, 3),
                "after": round(after_ms, 3),
                "median": round(middle, 3),
                "spread": round((high - low) / middle, 3),
            },
            "temperatures_after_c": read_temperatures(),
        }
        return {**record, "doubts": doubts(record)}


def doubts(record: dict[str, Any]) -> list[str]:
    """What in the conditions speaks against quoting a number taken under them."""
    found = []
    cpu, calibration = record["machine"]["cpu"], record["calibration_ms"]
    steal, others = record["steal"], record["others_cores"]
    if steal is not None and steal >= STEAL_LIMIT:
        found.append(f"the hypervisor gave {steal:.1%} of the CPU time to other machines")
    if others is not None and others >= OTHERS_LIMIT:
        found.append(f"other processes kept {others:.1f} cores busy during the run; run alone")
    change = calibration["after"] / calibration["before"] - 1
    if abs(change) >= CLOCK_LIMIT:
        found.append(f"fixed work took {change:+.0%} time after the run against before: the clock changed")
    if calibration["spread"] >= NOISE_LIMIT:
        found.append(f"fixed work varied by {calibration['spread']:.0%} during the run: a noisy machine")
    if cpu["governor"] is None and not record["temperatures_after_c"]:
        found.append("neither clock nor temperature can be read here: throttling would show only as noise")
    elif cpu["governor"] is not None and cpu["governor"] not in CALM_GOVERNORS:
        found.append(f"the frequency governor is {cpu['governor']}; set performance to hold the clock")
    jetson = record["machine"]["jetson"]
    if jetson and jetson["clocks_locked"] is False:
        found.append("the GPU clock may move; run jetson_clocks first")
    if jetson and jetson["power_mode"] is None:
        found.append("the power mode is unknown; numbers of other modes cannot be compared")
    return found


def _calibrate(repeats: int) -> float:
    """Milliseconds of hashing a fixed block on one core, the best of some: that filters out neighbours."""
    times = []
    for _ in range(repeats):
        start = perf_counter()
        for _ in range(4):
            hashlib.sha256(_WORK).digest()
        times.append((perf_counter() - start) * 1e3)
    return min(times)


def _own_cpu_s() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _steal(before: CpuTimes | None, after: CpuTimes | None) -> float | None:
    if before is None or after is None or after.total <= before.total:
        return None
    return round((after.steal - before.steal) / (after.total - before.total), 4)


def _others(before: CpuTimes | None, after: CpuTimes | None, own_s: float, wall_s: float) -> float | None:
    """Cores that other processes kept busy; None where the kernel does not tell or the run was too short."""
    if before is None or after is None or wall_s < 1:
        return None
    busy = (after.total - after.idle - after.steal) - (before.total - before.idle - before.steal)
    return round(max(busy / os.sysconf("SC_CLK_TCK") - own_s, 0) / wall_s, 2)
