"""The conditions of a measurement: machine, software, and load by other processes."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import edgestill
from devices.detect import detect
from devices.jetson import read_jetson
from devices.linux import CpuTimes, read_cpu_times, read_load, read_temperatures
from devices.software import versions

LIBRARIES = (
    "numpy",
    "opencv-python",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
)

STEAL_LIMIT = 0.01  # fraction of the CPU time
OTHERS_LIMIT = 0.1  # cores used by other processes
CLOCK_LIMIT = 0.05  # relative change of the calibration time over the run
NOISE_LIMIT = 0.10  # spread of the calibration time, 10th to 90th percentile over the median
STEADY_GOVERNORS = {"performance", "userspace"}

_WORK = bytes(1 << 20)
_REPEATS = 9


class Watch:
    """Records the state of the machine before, during and after a run.

    A fixed single-core workload (the calibration) is timed repeatedly. What makes it slower also makes the
    models slower, and is not their own cost.
    """

    def __init__(self) -> None:
        self._machine = detect()
        self._started = datetime.now(timezone.utc)
        self._load = read_load()
        self._before_ms = _calibrate(_REPEATS)
        self._during_ms: list[float] = []
        self._ticks, self._own_s, self._clock_s = read_cpu_times(), _own_cpu_s(), perf_counter()

    def tick(self) -> None:
        """Time the calibration once, between two rounds."""
        self._during_ms.append(_calibrate(1))

    def finish(self) -> dict[str, Any]:
        """The conditions of the run as plain data, with ``doubts``."""
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
            "power_mode_after": jetson.power_mode if (jetson := read_jetson(Path("/"))) else None,
        }
        return {**record, "doubts": doubts(record)}


def doubts(record: dict[str, Any]) -> list[str]:
    """Reasons in the conditions not to quote a figure that was measured under them."""
    found = []
    cpu, calibration = record["machine"]["cpu"], record["calibration_ms"]
    steal, others = record["steal"], record["others_cores"]
    if steal is not None and steal >= STEAL_LIMIT:
        found.append(f"the hypervisor gave {steal:.1%} of the CPU time to other virtual machines")
    if others is not None and others >= OTHERS_LIMIT:
        found.append(f"other processes used {others:.1f} cores during the run; stop them")
    change = calibration["after"] / calibration["before"] - 1
    if abs(change) >= CLOCK_LIMIT:
        found.append(f"a fixed workload took {change:+.0%} time after the run: the CPU clock changed")
    if calibration["spread"] >= NOISE_LIMIT:
        found.append(f"a fixed workload varied by {calibration['spread']:.0%} during the run")
    if cpu["governor"] is None and not record["temperatures_after_c"]:
        found.append("neither clock nor temperature can be read: throttling cannot be excluded")
    elif cpu["governor"] is not None and cpu["governor"] not in STEADY_GOVERNORS:
        found.append(f"the frequency governor is {cpu['governor']}; set it to performance")
    jetson = record["machine"]["jetson"]
    if jetson and jetson["clocks_locked"] is False:
        found.append("the GPU clock is not fixed; run jetson_clocks first")
    if jetson and jetson["power_mode"] is None:
        found.append("the power mode is unknown, and results depend on it")
    elif jetson and jetson["power_mode"] != record["power_mode_after"]:
        found.append(
            f"the power mode changed during the run: {jetson['power_mode']} to {record['power_mode_after']}"
        )
    return found


def _calibrate(repeats: int) -> float:
    """Milliseconds to hash a fixed block on one core: the minimum, which is least affected by other load."""
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
    """Cores used by other processes; None if the kernel does not report it or the run was under 1 s."""
    if before is None or after is None or wall_s < 1:
        return None
    busy = (after.total - after.idle - after.steal) - (before.total - before.idle - before.steal)
    return round(max(busy / os.sysconf("SC_CLK_TCK") - own_s, 0) / wall_s, 2)
