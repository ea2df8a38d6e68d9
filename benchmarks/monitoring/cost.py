"""What the monitors cost: ``python -m benchmarks.monitoring.cost``.

Reads the sensors of this machine, or of a recorded file tree, at the rate of ``bench``, and prints the CPU
time of the thread that reads them. The time in the kernel is included. A recorded tree has plain files, which
are not read over a bus as those of a real sensor.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import sleep
from typing import Any

from devices.monitors.find import open_sensors
from devices.monitors.monitor import INTERVAL_S, Monitor


def measure_cost(root: Path, seconds: float) -> dict[str, Any]:
    """CPU time of reading all sensors for some seconds.

    Args:
        root: ``/``, or a recorded file tree.
        seconds: How long.
    """
    recorded = root != Path("/")
    found = (
        open_sensors(root, nvml=_not_recorded, tegrastats=_not_recorded) if recorded else open_sensors(root)
    )
    with Monitor(found.sensors) as monitor:
        sleep(seconds)
        trace = monitor.trace()
    return {
        "sensors": {sensor.name: len(sensor.channels) for sensor in found.sensors},
        "missing": dict(found.missing),
        "lost": dict(trace.lost),
        "interval_s": INTERVAL_S,
        "samples": trace.samples,
        "seconds": round(trace.wall_s, 2),
        "cpu_ms_a_sample": round(1e3 * trace.cpu_s / max(trace.samples, 1), 3),
        "share_of_a_core": round(trace.cpu_s / trace.wall_s, 5),
    }


def main() -> None:
    """Print the cost as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitoring.cost", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/"), help="recorded file tree (default: /)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to read (default 10)")
    args = parser.parse_args()
    print(json.dumps(measure_cost(args.root, args.seconds), indent=2))


def _not_recorded() -> str:
    return "is no part of a recorded file tree"


if __name__ == "__main__":
    main()
