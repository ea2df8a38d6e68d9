"""Power, clocks and temperatures of a Jetson from the lines that ``tegrastats`` prints.

It stands in for the INA3221 where its files cannot be read, as in a container that has the program.

Source: NVIDIA Jetson Linux Developer Guide, tegrastats Utility, releases R32 to R39; the fields of each
release are in ``tests/devices/monitors/test_tegrastats.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

#: ``GR3D_FREQ 9%@76``, ``99%@[612]``, ``31%``, ``@314``, ``@[314,314,314]``.
_GPU = re.compile(r"\bGR3D_FREQ (?:(?P<load>[0-9]+)%)?(?:@\[?(?P<clocks>[0-9,]+)\]?)?")
_MEMORY = re.compile(r"\bEMC_FREQ (?:[0-9]+%)?(?:@(?P<clock>[0-9]+))?")
_CPU = re.compile(r"\bCPU \[(?P<cores>[^\]]*)\]")
#: ``cpu@52.968C`` or ``cpu@52.968C/53.1C``: the first is the current value.
_TEMPERATURE = re.compile(r"(?P<name>[\w.-]+)@(?P<value>-?[0-9]+(?:\.[0-9]+)?)C(?![\w])")
#: ``VDD_IN 933/933``, ``VDD_IN 16321mW/11204mW``, ``VIN 1mW/2mW/3mW``: the first is the current value. The
#: field before must end at a space: ``RAM 330/3964MB`` is told apart by the letters behind.
_POWER = re.compile(
    r"(?<=\s)(?P<name>[A-Za-z][\w.]*) (?P<value>[0-9]+)(?:mW)?/[0-9]+(?:mW)?(?:/[0-9]+(?:mW)?)?(?=\s|$)"
)
#: Constant, or of a unit that is switched off, as in ``devices.linux.read_temperatures``.
_NO_ZONE, _OFF_C = "PMIC", -256.0
_UNUSED = "NC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tegrastats:
    """One line of ``tegrastats``; None or empty for what it does not say.

    Attributes:
        power_mw: Current power of each rail.
        temperatures_c: By thermal zone, without units that are switched off.
        cpu_mhz: Clock of each core; cores that are off are left out.
        gpu_mhz: Clock of each graphics processing cluster.
        gpu_load: Load of the GPU, 0 to 1; None if the line has none, which is not a load of 0.
        memory_mhz: Clock of the memory (EMC).
    """

    power_mw: Mapping[str, float]
    temperatures_c: Mapping[str, float]
    cpu_mhz: tuple[float, ...]
    gpu_mhz: tuple[float, ...]
    gpu_load: float | None
    memory_mhz: float | None


def parse_line(line: str) -> Tegrastats | None:
    """The figures of a line; None if it is not one of tegrastats."""
    cpu = _CPU.search(line)
    if cpu is None or not re.search(r"\bRAM [0-9]+/[0-9]+MB", line):
        return None
    gpu, memory = _GPU.search(line), _MEMORY.search(line)
    clocks = gpu["clocks"] if gpu else None
    return Tegrastats(
        power_mw={
            found["name"]: float(found["value"])
            for found in _POWER.finditer(line)
            if found["name"] != _UNUSED
        },
        temperatures_c={
            found["name"]: celsius
            for found in _TEMPERATURE.finditer(line)
            if found["name"] != _NO_ZONE and (celsius := float(found["value"])) > _OFF_C
        },
        cpu_mhz=tuple(float(core.partition("@")[2]) for core in cpu["cores"].split(",") if "@" in core),
        gpu_mhz=tuple(float(clock) for clock in clocks.split(",") if clock) if clocks else (),
        gpu_load=int(gpu["load"]) / 100 if gpu and gpu["load"] else None,
        memory_mhz=float(memory["clock"]) if memory and memory["clock"] else None,
    )
