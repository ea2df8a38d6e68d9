"""Samples become series; a sensor that vanishes leaves what it said before. No test asserts a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from threading import Event

import numpy as np
import pytest

from devices.monitors.monitor import Monitor
from devices.monitors.sensor import Channel, Kind, PowerMeter, SensorLostError
from devices.monitors.throttling import Throttling, find_throttling
from devices.monitors.trace import Series, Trace, power_of

POWER = Channel("power_mw", "VDD_IN")
HEAT = Channel("temperature_c", "cpu")


class Scripted:
    """A sensor that says what it is told, in order, and is lost behind the last."""

    meter: PowerMeter | None = None

    def __init__(self, name: str, channels: tuple[Channel, ...], rows: Iterable[Sequence[float]]) -> None:
        self.name, self.channels = name, channels
        self._rows, self.closed, self.reads = iter(rows), False, 0
        self.ended = Event()

    def read(self) -> Sequence[float]:
        self.reads += 1
        row = next(self._rows, None)
        if row is None:
            self.ended.set()
            raise SensorLostError("No such device")
        return row

    def close(self) -> None:
        self.closed = True


def meter(*channels: Channel) -> PowerMeter:
    return PowerMeter(name="m", covers="c", channels=channels, update_s=0.1)


def trace(**series: tuple[Kind, Sequence[float], Sequence[float]]) -> Trace:
    found = {
        Channel(kind, name): Series(np.asarray(times, np.float64), np.asarray(values, np.float64))
        for name, (kind, times, values) in series.items()
    }
    return Trace(found, {}, 0.0, 1.0, 1)


def test_the_thread_reads_until_the_end_and_closes_the_sensors() -> None:
    sensor = Scripted("s", (POWER, HEAT), [(1.0, 40.0), (2.0, math.nan), (3.0, 42.0)])
    with Monitor([sensor], interval_s=0.001) as monitor:
        assert sensor.ended.wait(10)
    found = monitor.trace()
    assert list(found.series[POWER].values) == [1, 2, 3]
    assert list(found.series[HEAT].values) == [40, 42]
    assert np.all(np.diff(found.series[POWER].times_s) > 0)
    assert found.samples >= 3
    assert found.cpu_s > 0
    assert sensor.closed


def test_a_sensor_that_vanishes_keeps_its_values_and_the_others_go_on() -> None:
    gone = Scripted("gone", (POWER,), [(5.0,)])
    stays = Scripted("stays", (HEAT,), [(40.0,)] * 3)
    monitor = Monitor([gone, stays])
    for _ in range(3):
        monitor.sample()
    found = monitor.trace()
    assert (gone.reads, stays.reads) == (2, 3), "what is lost is not read again"
    assert list(found.series[POWER].values) == [5]
    assert len(found.series[HEAT]) == 3
    assert list(found.lost) == ["gone"]
    assert found.lost["gone"].startswith("No such device, after ")


def test_the_first_of_two_sensors_with_a_channel_provides_it() -> None:
    monitor = Monitor([Scripted("a", (HEAT,), [(1.0,)]), Scripted("b", (HEAT,), [(2.0,)])])
    monitor.sample()
    assert list(monitor.trace().series[HEAT].values) == [1]


def test_no_sensors_are_an_empty_trace() -> None:
    with Monitor([]) as monitor:
        monitor.sample()
    assert monitor.trace().series == {}


def test_energy_of_power_is_its_integral_over_the_window() -> None:
    # 1000 mW, then a rise to 3000 mW from 2 s to 3 s
    found = trace(a=("power_mw", [0, 1, 2, 3, 4], [1000, 1000, 1000, 3000, 3000]))
    power = meter(Channel("power_mw", "a"))
    assert found.energy_mj(power, 0, 4) == pytest.approx(2000 + 2000 + 3000)
    assert found.energy_mj(power, 0.5, 2.5) == pytest.approx(1500 + 0.5 * (1000 + 2000) / 2)


def test_energy_of_counters_is_their_step_and_channels_are_added() -> None:
    found = trace(a=("energy_mj", [0, 2], [100, 300]), b=("energy_mj", [0, 2], [50, 60]))
    both = meter(Channel("energy_mj", "a"), Channel("energy_mj", "b"))
    assert found.energy_mj(both, 0, 1) == pytest.approx(100 + 5)


def test_the_last_time_of_a_meter_is_that_of_its_first_channel_to_end() -> None:
    found = trace(a=("power_mw", [0, 2], [1, 1]), b=("power_mw", [0, 1], [1, 1]))
    assert found.last_s(meter(Channel("power_mw", "a"), Channel("power_mw", "b"))) == 1
    assert found.last_s(meter(Channel("power_mw", "a"), Channel("power_mw", "missing"))) is None


def test_power_comes_from_the_steps_of_a_counter() -> None:
    counter = Series(np.asarray([0.0, 1.0, 1.0, 3.0]), np.asarray([0.0, 5.0, 5.0, 25.0]))
    found = power_of(counter)
    assert list(found.values) == [5, 10]
    assert list(found.times_s) == [0.5, 2.0]


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        pytest.param({}, Throttling(None, ()), id="nothing-tells"),
        pytest.param({"gpu": ("throttle_bits", [0, 1], [0, 1])}, Throttling(False, ()), id="idle"),
        pytest.param(
            {"gpu": ("throttle_bits", [0, 1, 2], [0, 0x4, 0])},
            Throttling(False, ("gpu: software power cap",)),
            id="a-power-cap-is-stated-and-no-fault",
        ),
        pytest.param(
            {"gpu": ("throttle_bits", [0, 1, 2], [0x40, 0x4 | 0x8, 0])},
            Throttling(
                True, ("gpu: hardware slowdown", "gpu: hardware thermal slowdown", "gpu: software power cap")
            ),
            id="bits-of-different-times",
        ),
        pytest.param(
            {"oc3": ("throttle_count", [0, 1, 2], [37, 37, 40])},
            Throttling(True, ("oc3: 3 events",)),
            id="events-during-the-run",
        ),
        pytest.param(
            {"oc3": ("throttle_count", [0, 1, 2], [37, 37, 37])},
            Throttling(False, ()),
            id="events-before-the-run",
        ),
        pytest.param(
            {"alert": ("throttle_state", [0, 1, 2], [0, 1, 0])},
            Throttling(True, ("alert in force",)),
            id="an-alert-that-ended",
        ),
        pytest.param(
            {"alert": ("throttle_state", [0, 1, 5], [0, 0, 1])},
            Throttling(False, ()),
            id="an-alert-after-the-run",
        ),
    ],
)
def test_throttling_is_found_with_its_reasons(
    series: dict[str, tuple[Kind, Sequence[float], Sequence[float]]], expected: Throttling
) -> None:
    assert find_throttling(trace(**series), 0, 2) == expected
