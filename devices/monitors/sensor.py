"""What a sensor is: named channels that are read together, and the power meter that they may form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

#: What a channel measures; the unit is in the name. ``throttle_bits`` is a mask of ``nvml.THROTTLE_BITS``,
#: ``throttle_count`` a counter of events since boot, ``throttle_state`` above 0 while a limit is in force.
Kind = Literal[
    "power_mw",
    "energy_mj",
    "clock_mhz",
    "temperature_c",
    "throttle_bits",
    "throttle_count",
    "throttle_state",
]


@dataclass(frozen=True, slots=True)
class Channel:
    """One figure of a sensor.

    Attributes:
        kind: Quantity and unit. ``energy_mj`` is a counter that only grows.
        name: Name of the rail, clock, thermal zone or cause.
    """

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerMeter:
    """Channels whose sum is the power or energy of a device, without counting a part twice.

    Attributes:
        name: Sensor and rails, e.g. ``"INA3221 VDD_IN"``.
        covers: What the sum includes, for the result.
        channels: All ``power_mw`` or all ``energy_mj``; they do not overlap.
        update_s: Time over which the sensor averages, or between two updates of a counter, seconds.
        nvidia_gpu: Index of the graphics card whose board it measures; None if it measures the CPU's side or
            a whole Jetson.
    """

    name: str
    covers: str
    channels: tuple[Channel, ...]
    update_s: float
    nvidia_gpu: int | None = None

    @property
    def counts_energy(self) -> bool:
        """Whether the channels are energy counters, so that no power has to be integrated."""
        return self.channels[0].kind == "energy_mj"


class SensorLostError(Exception):
    """A sensor that could be read before cannot be read any more; the message is the reason."""


class Sensor(Protocol):
    """A source of figures.

    Attributes:
        name: Name in results, unique on a machine.
        channels: What ``read`` returns, in order.
        meter: The power meter among the channels; None if there is none.
    """

    name: str
    channels: tuple[Channel, ...]
    meter: PowerMeter | None

    def read(self) -> Sequence[float]:
        """One value for each channel, NaN for what has none at the moment.

        Raises:
            SensorLostError: No channel can be read any more.
        """

    def close(self) -> None:
        """Release files, processes and libraries."""
