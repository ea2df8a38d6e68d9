"""What the sensors said over a time, and the power and energy in a part of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devices.monitors.sensor import Channel, Kind, PowerMeter


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The values of one channel in the order of time.

    Attributes:
        times_s: ``time.perf_counter`` of each value, ``[n]``.
        values: Values in the channel's unit, ``[n]``, without NaN.
    """

    times_s: NDArray[np.float64]
    values: NDArray[np.float64]

    def between(self, start_s: float, end_s: float) -> Series:
        """The values from ``start_s`` to ``end_s``."""
        inside = (self.times_s >= start_s) & (self.times_s <= end_s)
        return Series(self.times_s[inside], self.values[inside])

    def at(self, time_s: float) -> float:
        """The value at a time, linearly between its neighbours; the series must not be empty."""
        return float(np.interp(time_s, self.times_s, self.values))

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """All samples of a monitor.

    Attributes:
        series: Values by channel; a channel without any is not in it.
        lost: Reason and time for each sensor that could not be read any more, by its name.
        cpu_s: CPU time that reading took, seconds.
        wall_s: Time that the monitor has run, seconds.
        samples: Number of times that the sensors were read.
    """

    series: Mapping[Channel, Series]
    lost: Mapping[str, str]
    cpu_s: float
    wall_s: float
    samples: int

    def of(self, kind: Kind) -> Iterator[tuple[str, Series]]:
        """Name and values of each channel of a kind."""
        return ((channel.name, series) for channel, series in self.series.items() if channel.kind == kind)

    def last_s(self, meter: PowerMeter) -> float | None:
        """Time of the last sample that has all channels of a meter; None if one has none."""
        if not set(meter.channels) <= set(self.series):
            return None
        return min(float(self.series[channel].times_s[-1]) for channel in meter.channels)

    def energy_mj(self, meter: PowerMeter, start_s: float, end_s: float) -> float:
        """Energy of a meter in a window that its samples cover, millijoules.

        Power is integrated by the trapezoidal rule, a counter is read off at both ends.
        """
        return sum(_energy_mj(self.series[channel], channel, start_s, end_s) for channel in meter.channels)


def power_of(series: Series) -> Series:
    """Power, mW, from the steps of an energy counter in mJ; one value less than it has."""
    steps_s = np.diff(series.times_s)
    known = steps_s > 0
    middles_s = series.times_s[:-1] + steps_s / 2
    # mJ / s is mW
    return Series(middles_s[known], np.diff(series.values)[known] / steps_s[known])


def _energy_mj(series: Series, channel: Channel, start_s: float, end_s: float) -> float:
    if channel.kind == "energy_mj":
        return series.at(end_s) - series.at(start_s)
    inside = series.between(start_s, end_s)
    times_s = np.asarray([start_s, *inside.times_s, end_s])
    power_mw = np.interp(times_s, series.times_s, series.values)
    # mW x s is mJ
    return float(np.sum(np.diff(times_s) * (power_mw[1:] + power_mw[:-1]) / 2))
