"""Clocks, temperatures and signs of throttling in the files of Linux.

Sources: Linux, Documentation/ABI/testing/sysfs-devices-system-cpu (``scaling_cur_freq``,
``thermal_throttle``), sysfs-class-devfreq and sysfs-class-thermal; github.com/rbonghi/jetson_stats f41d5cad,
jtop/core/memory.py (clock of the EMC); NVIDIA Jetson Linux Developer Guide, Platform Power and Performance
(``soctherm_oc``, throttle alerts).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from devices.jetson import gpu_devfreq
from devices.linux import read_temperatures, read_text
from devices.monitors.file_sensor import FileSensor, MaximumOf, Value, ValueFile
from devices.monitors.sensor import Channel

_MHZ_PER_KHZ, _MHZ_PER_HZ = 1e-3, 1e-6
_C_PER_MC = 1e-3
#: More than this many clocks cost more than they tell; those of large servers are taken at equal steps.
MOST_CPU_CLOCKS = 64
#: Clock of the memory (EMC), Hz. The first three are of JetPack 5 and later, 4 on a TX2 or Xavier, and Thor.
_MEMORY_CLOCKS = (
    "sys/kernel/debug/bpmp/debug/clk/emc/rate",
    "sys/class/devfreq/bwmgr/cur_freq",
    "sys/kernel/debug/clk/override.emc/clk_rate",
    "sys/kernel/debug/clk/emc/clk_rate",
)
#: Sensors of the processor that have no thermal zone.
_CPU_SENSORS = {"coretemp", "k10temp"}
#: Causes of the over-current counters of ``soctherm_oc``.
OVER_CURRENT = {"oc1": "under-voltage", "oc2": "average over-current", "oc3": "instantaneous over-current"}

_Opened = tuple[Channel, Value]


def open_clocks(root: Path) -> FileSensor | str:
    """CPU clock, and the clocks of GPU and memory of a Jetson; the reason if there are none."""
    values: list[_Opened] = []
    policies = sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*/scaling_cur_freq"))
    step = -(-len(policies) // MOST_CPU_CLOCKS) or 1
    cores = [v for path in policies[::step] if (v := _open(path, _MHZ_PER_KHZ)) is not None]
    if cores:
        # Idle cores report their lowest clock: the fastest is one that works.
        values.append((Channel("clock_mhz", "cpu"), MaximumOf(cores)))
    gpu = gpu_devfreq(root)
    clock = _open(gpu / "cur_freq", _MHZ_PER_HZ) if gpu else None
    if clock:
        values.append((Channel("clock_mhz", "gpu"), clock))
    memory = next((v for name in _MEMORY_CLOCKS if (v := _open(root / name, _MHZ_PER_HZ))), None)
    if memory:
        values.append((Channel("clock_mhz", "memory"), memory))
    return FileSensor("clocks", values) if values else "this system shows no clocks, as most virtual machines"


def open_temperatures(root: Path) -> FileSensor | str:
    """All thermal zones that are on, and the processor's own sensor; the reason if there are none."""
    named = set(read_temperatures(root))
    values: list[_Opened] = []
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        name = read_text(zone / "type")
        if name in named and (value := _open(zone / "temp", _C_PER_MC)):
            named.discard(name)  # two zones of one name: the first
            values.append((Channel("temperature_c", name), value))
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        name = read_text(chip / "name")
        if name in _CPU_SENSORS and (value := _open(chip / "temp1_input", _C_PER_MC)):
            values.append((Channel("temperature_c", f"{name} {chip.name}"), value))
    if not values:
        return "this system shows no temperatures, as most virtual machines"
    return FileSensor("temperatures", values)


def open_throttling(root: Path) -> FileSensor | str:
    """Counters and states of throttling by heat or current; the reason if there are none."""
    values = [*_over_current(root), *_alerts(root), *_package_counts(root)]
    if not values:
        return "this system has no files about throttling"
    return FileSensor("throttling", values)


OPENERS: Mapping[str, Callable[[Path], FileSensor | str]] = {
    "clocks": open_clocks,
    "temperatures": open_temperatures,
    "throttling": open_throttling,
}


def _over_current(root: Path) -> Iterator[_Opened]:
    """Counters of events of a Jetson Orin or Thor."""
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        for path in sorted(chip.glob("oc*_event_cnt")):
            cause = path.name.partition("_")[0]
            if value := _open(path):
                yield Channel("throttle_count", OVER_CURRENT.get(cause, cause)), value


def _alerts(root: Path) -> Iterator[_Opened]:
    """Thermal alerts of a Jetson: cooling devices ``gpu-throttle-alert``, ``cpu-throttle-alert``, ..."""
    for device in sorted((root / "sys/class/thermal").glob("cooling_device*")):
        name = read_text(device / "type") or ""
        if name.endswith("throttle-alert") and (value := _open(device / "cur_state")):
            yield Channel("throttle_state", name), value


def _package_counts(root: Path) -> Iterator[_Opened]:
    """Thermal throttling of Intel processors, once for each package."""
    seen = set()
    for core in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*")):
        package = read_text(core / "topology/physical_package_id")
        value = _open(core / "thermal_throttle/package_throttle_count") if package not in seen else None
        if value:
            seen.add(package)
            yield Channel("throttle_count", f"heat of CPU package {package}"), value


def _open(path: Path, scale: float = 1.0) -> ValueFile | None:
    """The file, if it can be opened and has a number now."""
    try:
        value = ValueFile(path, scale)
    except OSError:
        return None
    try:
        value.read()
    except (OSError, ValueError):
        value.close()
        return None
    return value
