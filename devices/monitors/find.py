"""The sensors of this machine, and the power meter of what a model runs on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devices.jetson import read_jetson
from devices.monitors import ina3221, tegrastats_process
from devices.monitors.ina3221 import open_ina3221
from devices.monitors.nvml_sensor import NvmlSensor, open_nvml, used_gpu
from devices.monitors.rapl import open_rapl
from devices.monitors.sensor import PowerMeter, Sensor
from devices.monitors.system_files import OPENERS
from devices.monitors.tegrastats_process import open_tegrastats

NVML, RAPL = "NVML", "RAPL"
#: Sensors of power that can be missing, beside those of a graphics card.
_OF_THE_CPU = (ina3221.NAME, tegrastats_process.NAME, RAPL)


@dataclass(frozen=True, slots=True, eq=False)
class Sensors:
    """The open sensors of a machine.

    Attributes:
        sensors: All of them. Their user closes them, see ``monitor.Monitor``.
        missing: Why a kind of sensor is not among them, by its name.
    """

    sensors: tuple[Sensor, ...]
    missing: Mapping[str, str]

    def power_meter(self, device: str) -> PowerMeter | str:
        """The power meter of what a backend computes on; the reason if there is none.

        Args:
            device: The device as ``runtime.backend.Backend.device`` has it, e.g. ``"cuda: Orin"``,
                ``"cuda:1: NVIDIA L4"``, ``"CUDAExecutionProvider: device 1"`` or ``"CPU"``.
        """
        cards = [sensor for sensor in self.sensors if isinstance(sensor, NvmlSensor)]
        if "cuda" in device.lower() and (cards or NVML in self.missing):
            return _meter_of_card(cards, cuda_index(device)) if cards else self.missing[NVML]
        meters = [sensor.meter for sensor in self.sensors if sensor.meter]
        reasons = [self.missing[name] for name in _OF_THE_CPU if name in self.missing]
        return next((m for m in meters if m.nvidia_gpu is None), "; ".join(reasons))


def open_sensors(
    root: Path = Path("/"),
    *,
    nvml: Callable[[], list[NvmlSensor] | str] = open_nvml,
    tegrastats: Callable[[], Sensor | str] = open_tegrastats,
) -> Sensors:
    """Open all sensors of a machine that can be read.

    Args:
        root: ``/``, or a recorded file tree of another machine.
        nvml: Opens the graphics cards.
        tegrastats: Starts ``tegrastats``.
    """
    found: list[Sensor] = []
    missing: dict[str, str] = {}

    def keep(name: str, opened: Sensor | str) -> None:
        if isinstance(opened, str):
            missing[name] = opened
        else:
            found.append(opened)

    for name, open_files in OPENERS.items():
        keep(name, open_files(root))
    if read_jetson(root) is None:
        keep(RAPL, open_rapl(root))
        cards = nvml()
        for card in [cards] if isinstance(cards, str) else cards:
            keep(NVML, card)
        return Sensors(tuple(found), missing)
    rails = open_ina3221(root)
    keep(ina3221.NAME, rails)
    if isinstance(rails, str) or rails.meter is None:
        if not isinstance(rails, str):
            names = ", ".join(channel.name for channel in rails.channels)
            missing[ina3221.NAME] = f"none of the rails {names} is known to supply the whole module"
        keep(tegrastats_process.NAME, tegrastats())
    return Sensors(tuple(found), missing)


def cuda_index(device: str) -> int:
    """Index of the CUDA device that a backend names; 0 if it names none."""
    found = re.search(r"^cuda:(\d+)|: device (\d+)$", device)
    return int(found[1] or found[2]) if found else 0


def _meter_of_card(cards: Sequence[NvmlSensor], device: int) -> PowerMeter | str:
    index = used_gpu(cards, device)
    if isinstance(index, str):
        return index
    card = next((card for card in cards if card.index == index), None)
    if card is None or card.meter is None:
        return f"graphics card {index} has no power sensor that NVML can read"
    return card.meter
