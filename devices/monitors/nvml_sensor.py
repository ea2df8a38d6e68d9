"""NVIDIA graphics cards as sensors."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence

from devices.monitors.nvml import LIBRARY, Nvml, NvmlDevice, NvmlError
from devices.monitors.sensor import Channel, PowerMeter, SensorLostError

#: Time between two updates of the energy counter. Source: ml.energy, Thermally Stable Profiling for Accurate
#: GPU Energy Measurement: about 100 ms.
ENERGY_UPDATE_S = 0.1
#: Time over which ``nvmlDeviceGetPowerUsage`` averages, on cards that do; others are more precise.
POWER_MEAN_S = 1.0


class NvmlSensor:
    """One card: what it measures of power, energy, clocks, temperature and throttling.

    Args:
        device: The card.
        index: Its index.
        on_close: Called by ``close``; that of several cards may be the same.

    Raises:
        NvmlError: It measures none of them.
    """

    def __init__(self, device: NvmlDevice, index: int, on_close: Callable[[], None]) -> None:
        self.index, self.uuid = index, device.uuid()
        self.name = f"NVML GPU {index} {device.name()}"
        self._on_close = on_close
        gpu = f"gpu {index}"
        offered: dict[Channel, Callable[[], float]] = {
            Channel("energy_mj", gpu): device.energy_mj,
            Channel("power_mw", gpu): device.power_mw,
            Channel("clock_mhz", gpu): device.sm_mhz,
            Channel("clock_mhz", f"memory of {gpu}"): device.memory_mhz,
            Channel("temperature_c", gpu): device.temperature_c,
            Channel("throttle_bits", gpu): device.throttle_bits,
        }
        self._read = {channel: read for channel, read in offered.items() if _answers(read)}
        if not self._read:
            raise NvmlError(f"{self.name} measures nothing that NVML can read")
        self.channels = tuple(self._read)
        self.meter = self._meter(gpu)

    def read(self) -> Sequence[float]:
        """One value for each channel; NaN where the card gives none now.

        Raises:
            SensorLostError: The card gives no value at all, as one that has fallen off the bus.
        """
        values = []
        message = ""
        for read in self._read.values():
            try:
                values.append(read())
            except NvmlError as error:  # noqa: PERF203 (each figure may fail alone)
                values.append(math.nan)
                message = str(error)
        if all(map(math.isnan, values)):
            raise SensorLostError(message)
        return values

    def close(self) -> None:
        """Give up the card."""
        self._on_close()

    def _meter(self, gpu: str) -> PowerMeter | None:
        for kind, update_s in (("energy_mj", ENERGY_UPDATE_S), ("power_mw", POWER_MEAN_S)):
            channel = next((c for c in self.channels if c.kind == kind), None)
            if channel:
                return PowerMeter(
                    name=f"NVML {'energy counter' if kind == 'energy_mj' else 'power'} of {gpu}",
                    covers="the board of the graphics card, without the CPU",
                    channels=(channel,),
                    update_s=update_s,
                    nvidia_gpu=self.index,
                )
        return None


def open_nvml(library: str = LIBRARY) -> list[NvmlSensor] | str:
    """All cards that measure something; the reason if there are none."""
    try:
        nvml = Nvml(library)
    except OSError:
        return f"there is no {library}: it comes with the NVIDIA driver"
    except NvmlError as error:
        return f"NVML: {error}"
    sensors: list[NvmlSensor] = []
    reason = "NVML: this machine has no graphics card"
    try:
        for index in range(nvml.count()):
            try:
                sensors.append(NvmlSensor(nvml.device(index), index, nvml.close))
            except NvmlError as error:  # noqa: PERF203 (a card may fail alone)
                reason = f"NVML: {error}"
    except NvmlError as error:
        reason = f"NVML: {error}"
    if not sensors:
        nvml.close()
        return reason
    return sensors


def used_gpu(sensors: Sequence[NvmlSensor], device: int = 0) -> int | str:
    """Index of the card that is a CUDA device of this process; the reason if that cannot be known.

    Args:
        sensors: The cards, at least one.
        device: Index of the CUDA device among those that are visible to this process.
    """
    if len(sensors) == 1:
        return sensors[0].index
    visible = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    if any(visible) and device >= len(visible):
        return f"CUDA device {device} is not among CUDA_VISIBLE_DEVICES={','.join(visible)}"
    word = visible[device] if any(visible) else str(device)
    by_uuid = [s.index for s in sensors if word and s.uuid.startswith(word)]
    if len(by_uuid) == 1:
        return by_uuid[0]
    # CUDA counts the fastest first unless it is told to count as NVML does; equal cards keep their order.
    in_order = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    equal = len({s.name.split(" ", 3)[-1] for s in sensors}) == 1
    if (in_order or equal) and word.isdecimal():
        return int(word)
    return (
        f"it is not known which of the {len(sensors)} graphics cards the model ran on: "
        "set CUDA_DEVICE_ORDER=PCI_BUS_ID"
    )


def _answers(read: Callable[[], float]) -> bool:
    try:
        read()
    except NvmlError:
        return False
    return True
