"""What the monitors said is summed up before, during and after a run, and in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.monitoring.cost import measure_cost
from benchmarks.monitoring.energy import Window
from benchmarks.monitoring.summary import doubts, energy_in_words, in_words, summarise
from devices.monitors.find import Sensors
from devices.monitors.sensor import Channel
from devices.monitors.trace import Series, Trace

TIMES_S = np.arange(6, dtype=np.float64)
RUN = Window(1.0, 4.0)


def summary(lost: dict[str, str] | None = None, **values: tuple[str, list[float]]) -> dict[str, Any]:
    series = {
        Channel(kind, name): Series(TIMES_S, np.asarray(v, np.float64))  # type: ignore[arg-type]
        for name, (kind, v) in values.items()
    }
    return summarise(Trace(series, lost or {}, 0.02, 5.0, 6), Sensors((), {"RAPL": "none"}), RUN)


def test_a_figure_has_its_values_before_during_and_after() -> None:
    found = summary(gpu=("clock_mhz", [300, 306, 612, 918, 612, 100]))
    assert found["clocks_mhz"]["gpu"] == {
        "before": 306,
        "min": 306,
        "median": 612,
        "mean": 612,
        "max": 918,
        "after": 612,
    }
    assert (found["samples"], found["cost_cores"], found["missing"]) == (6, 0.004, {"RAPL": "none"})


def test_the_power_of_a_counter_is_among_the_powers() -> None:
    found = summary(
        rail=("power_mw", [1, 2, 3, 4, 5, 6]),
        package=("energy_mj", [0, 1000, 3000, 5000, 7000, 7500]),
    )
    assert set(found["power_mw"]) == {"rail", "package"}
    assert (found["power_mw"]["package"]["before"], found["power_mw"]["package"]["mean"]) == (1000, 2000)
    assert found["power_mw"]["package"]["after"] == 500


def test_a_channel_without_a_value_during_the_run_is_left_out() -> None:
    series = {Channel("clock_mhz", "gpu"): Series(TIMES_S[:1], np.ones(1))}
    assert summarise(Trace(series, {}, 0, 5, 1), Sensors((), {}), RUN)["clocks_mhz"] == {}


def test_throttling_and_lost_sensors_are_doubts() -> None:
    found = summary({"INA3221": "gone, after 2.0 s"}, gpu=("throttle_bits", [0, 0, 0x40, 0, 0, 0]))
    assert list(doubts(found)) == [
        "the machine was throttled during the run: gpu: hardware thermal slowdown",
        "the sensor INA3221 was lost: gone, after 2.0 s",
    ]


def test_a_power_cap_is_stated_and_no_doubt() -> None:
    found = summary(gpu=("throttle_bits", [4] * 6))
    assert (found["throttled"], found["throttle_reasons"]) == (False, ["gpu: software power cap"])
    assert list(doubts(found)) == []


def test_a_line_tells_clocks_the_hottest_zone_and_throttling() -> None:
    found = summary(
        gpu=("clock_mhz", [300, 306, 612, 918, 612, 100]),
        cpu=("temperature_c", [40, 41, 42, 43, 44, 45]),
        tj=("temperature_c", [50, 51, 52, 53, 54, 55]),
        oc3=("throttle_count", [7] * 6),
    )
    assert in_words(found) == "gpu 612 MHz (306 to 918), tj 51 to 54 C, not throttled"


def test_a_machine_that_shows_nothing_says_so() -> None:
    assert in_words(summary()) == "no clocks, no temperature, throttling unknown"


def energy(name: str, **more: Any) -> dict[str, Any]:
    how = {"meter": "INA3221 VDD_IN", "covers": "the whole Jetson module", "idle_s": 3.0}
    how |= {"mean_mw": 9000.0, "idle_mw": 4000.0, "idle_sd_mw": 50.0}
    return {"name": name, "energy_mj": 200.0, "energy": how, **more}


def test_energy_reads_as_a_sentence_with_its_meter_and_idle() -> None:
    (line,) = energy_in_words([energy("a.onnx")])
    assert line == (
        "energy of a.onnx: 200.0 mJ a frame over idle; mean 9.00 W, idle 4.00 W "
        "(standard deviation 0.05 W in 3 s); INA3221 VDD_IN, the whole Jetson module"
    )


def test_a_reason_stands_once_with_the_models_it_is_about() -> None:
    none = {"energy_mj": None, "energy": None, "energy_reason": "no sensor"}
    both = [{"name": "a", **none}, {"name": "b", **none}]
    assert energy_in_words(both) == ["energy: not measured, because no sensor"]
    assert energy_in_words([energy("a"), both[1]])[1:] == ["energy of b: not measured, because no sensor"]


def test_a_result_of_an_older_version_has_no_line() -> None:
    assert energy_in_words([{"name": "a", "energy_mj": None}]) == []


def test_the_cost_is_of_the_thread_that_reads(tmp_path: Any) -> None:
    (tmp_path / "sys/class/thermal/thermal_zone0").mkdir(parents=True)
    (tmp_path / "sys/class/thermal/thermal_zone0/type").write_text("cpu\n")
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").write_text("40000\n")
    found = measure_cost(tmp_path, 0.05)
    assert found["sensors"] == {"temperatures": 1}
    assert found["samples"] >= 1
    assert found["share_of_a_core"] > 0
    assert found["missing"]["NVML"] == "is no part of a recorded file tree"


@pytest.mark.parametrize("state", [True, None])
def test_reasons_follow_the_state(state: bool | None) -> None:
    found = {"clocks_mhz": {}, "temperatures_c": {}, "throttled": state, "throttle_reasons": ["heat"]}
    assert in_words(found).endswith("(heat)")
