"""Energy of CPU packages: RAPL counters of Intel and AMD processors, in ``/sys/class/powercap``.

The counters are an estimate of the processor itself, and are updated about every millisecond. Since Linux
5.10 only root may read them (CVE-2020-8694).

Source: Linux, Documentation/power/powercap/powercap.rst and Documentation/ABI/testing/sysfs-class-powercap;
Intel SDM volume 3, RAPL domains: the DRAM domain is no part of the package domain, core and uncore are.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from devices.linux import read_text, to_int
from devices.monitors.file_sensor import FileSensor, Value, ValueFile
from devices.monitors.sensor import Channel, PowerMeter

UPDATE_S = 0.001
_MJ_PER_UJ = 1e-3
READABLE = "run as root, or once: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"


class GrowingCounter:
    """A counter that starts again at 0 behind its range, as one that does not.

    Args:
        counter: The counter.
        span: Its range, in the counter's unit; 0 if it is not known.
    """

    def __init__(self, counter: Value, span: float) -> None:
        self._counter, self._span = counter, span
        self._last, self._added = 0.0, 0.0

    def read(self) -> float:
        """The counter, with its range added for each time that it started again."""
        now = self._counter.read()
        if now < self._last:
            if not self._span:
                raise ValueError("the counter started again, and its range is unknown")
            self._added += self._span
        self._last = now
        return now + self._added

    def close(self) -> None:
        """Close the counter."""
        self._counter.close()


def open_rapl(root: Path) -> FileSensor | str:
    """The energy counters of all packages and their memory; the reason if there are none that can be read.

    ``intel-rapl-mmio`` repeats a package and ``psys`` includes the packages, so neither is added.
    """
    zones = [(zone, name) for zone in _zones(root) if (name := _counted_as(zone))]
    if not zones:
        return "this system has no RAPL counters in /sys/class/powercap, as in most virtual machines"
    with ExitStack() as opened:
        values: list[tuple[Channel, Value]] = []
        try:
            for zone, name in zones:
                counter = _counter(zone)
                opened.callback(counter.close)
                counter.read()
                values.append((Channel("energy_mj", name), counter))
        except PermissionError:
            return f"the RAPL counters may be read by root only: {READABLE}"
        except (OSError, ValueError) as error:
            return f"the RAPL counters cannot be read: {error}"
        opened.pop_all()
    names = [name for _, name in zones]
    has_dram = any(name.endswith("dram") for name in names)
    meter = PowerMeter(
        name=f"RAPL {' + '.join(names)}",
        covers="CPU packages and their memory" if has_dram else "CPU packages, without memory",
        channels=tuple(channel for channel, _ in values),
        update_s=UPDATE_S,
    )
    return FileSensor("RAPL", values, meter)


def _zones(root: Path) -> list[Path]:
    return sorted((root / "sys/class/powercap").glob("intel-rapl:*"))


def _counted_as(zone: Path) -> str | None:
    """Name of a zone that is added; None for one that another zone includes."""
    name = read_text(zone / "name") or ""
    if name.startswith("package"):
        return name
    package = read_text(zone.with_name(zone.name.rpartition(":")[0]) / "name") or ""
    # Two packages have a zone "dram" each.
    return f"{package} {name}" if name == "dram" and package.startswith("package") else None


def _counter(zone: Path) -> GrowingCounter:
    span = to_int(read_text(zone / "max_energy_range_uj")) or 0
    return GrowingCounter(ValueFile(zone / "energy_uj", _MJ_PER_UJ), span * _MJ_PER_UJ)
