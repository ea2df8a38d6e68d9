"""Power of the rails of a Jetson, from its INA3221 sensors.

Two layouts: ``iio:deviceN/{rail_name_N,in_powerN_input}`` with power in mW (JetPack 4), and
``hwmon/hwmonN/{inN_label,inN_input,currN_input}`` with voltage in mV and current in mA (JetPack 5 and later,
and the driver of Linux itself). Any user may read them.

Source: Linux, Documentation/hwmon/ina3221.rst; github.com/rbonghi/jetson_stats f41d5cad, jtop/core/power.py
(names of files). ``in4`` to ``in7`` are voltages of the shunts, not of rails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from devices.linux import read_text, to_int
from devices.monitors.file_sensor import FileSensor, ProductOf, Value, ValueFile
from devices.monitors.rails import UNUSED, module_meter
from devices.monitors.sensor import Channel

NAME = "INA3221"
_LAYOUTS = ("iio:device*", "hwmon/hwmon*")
#: The old driver counts rails from 0, the new one from 1.
_INPUTS = (0, 1, 2, 3)
_W_PER_MW = 1e-3  # mV x mA is microwatts; times this it is mW
#: Time over which a sensor averages where the driver does not say it in ``update_interval``.
_UPDATE_S = 0.1


def open_ina3221(root: Path) -> FileSensor | str:
    """The power of all rails; the reason if there is no sensor that can be read."""
    folders = list(dict.fromkeys(_folders(root)))
    if not folders:
        return "this system has no INA3221 in /sys/bus/i2c, as in most containers"
    with ExitStack() as opened:
        values: list[tuple[Channel, Value]] = []
        try:
            for folder in folders:
                for name, value in _rails(folder):
                    opened.callback(value.close)
                    value.read()
                    values.append((Channel("power_mw", name), value))
        except (OSError, ValueError) as error:
            return f"the INA3221 cannot be read: {error}"
        if not values:
            return "the INA3221 has no rail with a name"
        opened.pop_all()
    update_s = max((_update_s(folder) for folder in folders), default=_UPDATE_S)
    return FileSensor(NAME, values, module_meter(NAME, (c.name for c, _ in values), update_s))


def _folders(root: Path) -> Iterator[Path]:
    """The folders with the files of each INA3221."""
    bus = root / "sys/bus/i2c"
    chips = [*sorted((bus / "drivers").glob("ina3221*/*-*")), *sorted((bus / "devices").glob("*-*"))]
    of_chips = [folder for chip in chips for pattern in _LAYOUTS for folder in sorted(chip.glob(pattern))]
    for folder in [*of_chips, *sorted((root / "sys/class/hwmon").glob("hwmon*"))]:
        if "ina3221" in (read_text(folder / "name") or ""):
            # Two chips may be reached by several ways each.
            yield folder.resolve()


def _rails(folder: Path) -> Iterator[tuple[str, Value]]:
    """Name and power, mW, of each connected input."""
    for number in _INPUTS:
        name = read_text(folder / f"rail_name_{number}")
        if name and name != UNUSED:
            yield name, ValueFile(folder / f"in_power{number}_input")
    for number in _INPUTS:
        name = read_text(folder / f"in{number}_label")
        if name and name != UNUSED:
            voltage = ValueFile(folder / f"in{number}_input", _W_PER_MW)
            yield name, ProductOf(voltage, ValueFile(folder / f"curr{number}_input"))


def _update_s(folder: Path) -> float:
    """The driver's time between two updates: conversion of all channels, times the samples averaged."""
    milliseconds = to_int(read_text(folder / "update_interval"))
    return milliseconds / 1e3 if milliseconds else _UPDATE_S
