"""Energy of a frame over idle: right where it can be measured, null with the reason elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.measure import cold, session
from benchmarks.measure.collect import Settings
from benchmarks.monitoring import energy
from benchmarks.monitoring.energy import (
    LEAST_UPDATES,
    Run,
    Window,
    energy_figures,
    least_run_s,
    measure_idle,
    why_too_short,
)
from benchmarks.scenarios import single
from devices.monitors.find import Sensors
from devices.monitors.monitor import Monitor
from devices.monitors.sensor import Channel, PowerMeter, SensorLostError
from devices.monitors.trace import Series, Trace

RAIL = Channel("power_mw", "VDD_IN")
METER = PowerMeter(name="INA3221 VDD_IN", covers="the whole Jetson module", channels=(RAIL,), update_s=0.1)
IDLE = Window(0.0, 3.0)
#: 100 frames in 4 s, one each 40 ms
RUN = Run(Window(5.0, 9.0), [5 + 0.04 * (k + 1) for k in range(100)])


def power(mw: Callable[[float], float], until_s: float = 10.0, **lost: str) -> Trace:
    """A trace of one rail at 10 Hz."""
    times_s = np.arange(0, until_s + 0.05, 0.1)
    values = np.asarray([mw(t) for t in times_s])
    return Trace({RAIL: Series(times_s, values)}, lost, 0.0, until_s, len(times_s))


def steps(t: float) -> float:
    """4 W idle, 9 W from 4.5 s on."""
    return 4000.0 if t < 4.5 else 9000.0


def test_energy_is_the_power_over_idle_for_the_time_of_a_frame() -> None:
    found = energy_figures(power(steps), METER, IDLE, RUN)
    assert found["energy_mj"] == pytest.approx((9000 - 4000) * 4 / 100)
    assert found["energy"] == {
        "meter": "INA3221 VDD_IN",
        "covers": "the whole Jetson module",
        "method": "power, integrated over time",
        "mean_mw": 9000,
        "idle_mw": 4000,
        "idle_sd_mw": 0,
        "idle_s": 3,
        "run_s": 4,
        "frames": 100,
    }
    assert "energy_reason" not in found


def test_a_counter_gives_the_same() -> None:
    counter = Channel("energy_mj", "package-0")
    meter = PowerMeter(name="RAPL package-0", covers="CPU packages", channels=(counter,), update_s=0.001)
    times_s = np.arange(0, 10.05, 0.1)
    grown = np.concatenate([[0], np.cumsum([0.1 * steps(t) for t in times_s[:-1]])])
    found = energy_figures(
        Trace({counter: Series(times_s, grown)}, {}, 0.0, 10.0, len(times_s)), meter, IDLE, RUN
    )
    assert found["energy_mj"] == pytest.approx((9000 - 4000) * 4 / 100)
    assert found["energy"]["method"] == "energy counter"


def test_the_spread_of_idle_is_that_of_its_parts() -> None:
    found = energy_figures(power(lambda t: steps(t) + (100 if int(t) % 2 else 0)), METER, IDLE, RUN)
    # parts of half a second: 4000 4000 4100 4100 4000 4000, with ramps between samples
    assert found["energy"]["idle_sd_mw"] == pytest.approx(np.std([0, 0, 100, 100, 0, 0], ddof=1), rel=0.3)


def test_power_that_idle_also_has_is_no_energy_of_a_frame() -> None:
    found = energy_figures(power(lambda t: 4000 + 300 * math.sin(2 * t)), METER, IDLE, RUN)
    assert found["energy_mj"] is None
    assert "is not above the idle power" in found["energy_reason"]
    assert found["energy"]["mean_mw"] > 0


def test_a_sensor_that_vanished_leaves_the_figures_of_the_time_before() -> None:
    found = energy_figures(power(steps, until_s=7.5, INA3221="No such device"), METER, IDLE, RUN)
    assert found["energy"]["run_s"] == pytest.approx(2.5)
    assert found["energy"]["frames"] == 62
    assert found["energy_mj"] == pytest.approx((9000 - 4000) * 2.5 / 62, rel=1e-3)


@pytest.mark.parametrize("until_s", [5.5, 4.0])
def test_a_sensor_that_vanished_too_early_is_the_reason(until_s: float) -> None:
    found = energy_figures(power(steps, until_s=until_s, INA3221="No such device"), METER, IDLE, RUN)
    assert (found["energy_mj"], found["energy"]) == (None, None)
    assert found["energy_reason"] == "the power sensor was lost (INA3221: No such device)"


def test_a_run_that_the_sensor_is_too_slow_for_says_how_long_it_must_be() -> None:
    slow = PowerMeter(name="NVML power of gpu 0", covers="board", channels=(RAIL,), update_s=1.0)
    assert least_run_s(slow) == LEAST_UPDATES
    assert why_too_short(slow, 20) is None
    assert why_too_short(slow, 10) == (
        "10 s are too short for NVML power of gpu 0, which is updated every 1 s: --duration-s 20 or more"
    )


class Meter:
    """A rail that says what its ``mw`` is, and may vanish."""

    name, channels, meter = "INA3221", (RAIL,), METER

    def __init__(self) -> None:
        self.mw: float | None = 5000.0
        self.closed = False

    def read(self) -> Sequence[float]:
        if self.mw is None:
            raise SensorLostError("No such device")
        return (self.mw,)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short windows: the figures are of a sensor that answers at once."""
    monkeypatch.setattr(energy, "LEAST_RUN_S", 0.1)
    monkeypatch.setattr(energy, "LEAST_UPDATES", 1)
    monkeypatch.setattr(energy, "_LEAST_PART_S", 0.02)
    monkeypatch.setattr(energy, "_PART_UPDATES", 0)


@pytest.fixture(autouse=True)
def no_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cold start has its own tests."""
    monkeypatch.setattr(cold, "measure", lambda *_, **__: dict.fromkeys(cold.KEYS))


def bench(model: Path, sensor: Meter, monkeypatch: pytest.MonkeyPatch, mw: float | None) -> dict[str, Any]:
    """Bench with the sensor, whose power changes to ``mw`` behind the idle time."""

    def measure(*args: Any) -> Window | None:
        found = measure_idle(*args)
        sensor.mw = mw
        return found

    monkeypatch.setattr(session, "measure_idle", measure)
    settings = Settings(duration_s=0.2, min_samples=4, warmup_s=0, threads=1)
    return single.bench([model], settings, sensors=lambda: Sensors((sensor,), {"clocks": "none here"}))


@pytest.mark.usefixtures("quick")
def test_bench_measures_energy_and_closes_the_sensors(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = Meter()
    (model,) = bench(tiny_model, sensor, monkeypatch, mw=9000.0)["models"]
    assert (model["energy"]["idle_mw"], model["energy"]["mean_mw"]) == (5000, 9000)
    frames, run_s = model["energy"]["frames"], model["energy"]["run_s"]
    assert model["energy_mj"] == pytest.approx(4000 * run_s / frames, rel=0.05)
    monitors = model["environment"]["monitors"]
    assert monitors["power_mw"]["VDD_IN"]["mean"] == 9000
    assert monitors["missing"] == {"clocks": "none here"}
    assert sensor.closed


@pytest.mark.usefixtures("quick")
def test_a_sensor_that_vanishes_during_bench_is_a_doubt_and_no_crash(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model,) = bench(tiny_model, Meter(), monkeypatch, mw=None)["models"]
    assert model["energy_mj"] is None
    assert "the power sensor was lost (INA3221: No such device" in model["energy_reason"]
    assert any(doubt.startswith("the sensor INA3221 was lost") for doubt in model["doubts"])
    assert model["samples"] >= 4


def test_a_short_bench_does_not_wait_for_a_sensor(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "sleep", lambda _: pytest.fail("nothing can be measured in that time"))
    (model,) = bench(tiny_model, Meter(), monkeypatch, mw=9000.0)["models"]
    assert "0.2 s are too short for INA3221 VDD_IN" in model["energy_reason"]


def test_without_a_sensor_energy_is_null_with_the_reason(tiny_model: Path) -> None:
    settings = Settings(duration_s=0, min_samples=4, warmup_s=0, threads=1)
    found = single.bench([tiny_model], settings, sensors=lambda: Sensors((), {"RAPL": "for root only"}))
    (model,) = found["models"]
    assert (model["energy_mj"], model["energy"], model["energy_reason"]) == (None, None, "for root only")


@pytest.mark.usefixtures("quick")
def test_idle_is_not_measured_without_a_meter() -> None:
    with Monitor([]) as monitor:
        assert measure_idle(monitor, Sensors((), {}), 10) is None
