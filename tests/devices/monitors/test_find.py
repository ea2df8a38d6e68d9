"""Each recorded machine has its sensors, or the reasons why not, and the meter of what a model runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.monitors.find import Sensors, open_sensors
from devices.monitors.monitor import Monitor
from devices.monitors.sensor import PowerMeter, Sensor
from tests.devices.monitors.test_monitor import Scripted
from tests.devices.monitors.trees import TREES, write

NO_CARD = "there is no libnvidia-ml.so.1"
NO_PROGRAM = "the program tegrastats is not installed"


def found_in(root: Path, tree: str, tegrastats: Sensor | str = NO_PROGRAM) -> Sensors:
    return open_sensors(write(root, TREES[tree]), nvml=lambda: NO_CARD, tegrastats=lambda: tegrastats)


@pytest.mark.parametrize(
    ("tree", "sensors", "missing"),
    [
        pytest.param("orin-nano", {"clocks", "temperatures", "throttling", "INA3221"}, set(), id="orin-nano"),
        pytest.param("agx-orin", {"clocks", "temperatures", "throttling", "INA3221"}, set(), id="agx-orin"),
        pytest.param("nano", {"clocks", "temperatures", "INA3221"}, {"throttling"}, id="nano"),
        pytest.param("agx-xavier", {"temperatures", "INA3221"}, {"clocks", "throttling"}, id="agx-xavier"),
        pytest.param(
            "unknown-rails",
            {"INA3221"},
            {"clocks", "temperatures", "throttling", "INA3221", "tegrastats"},
            id="unknown-rails",
        ),
        pytest.param("x86-desktop", {"clocks", "temperatures", "throttling", "RAPL"}, {"NVML"}, id="x86"),
        pytest.param(
            "x86-two-sockets", {"clocks", "RAPL"}, {"temperatures", "throttling", "NVML"}, id="two-sockets"
        ),
        pytest.param(
            "virtual-machine",
            set(),
            {"clocks", "temperatures", "throttling", "RAPL", "NVML"},
            id="virtual-machine",
        ),
    ],
)
def test_a_machine_has_these_sensors(tree: str, sensors: set[str], missing: set[str], tmp_path: Path) -> None:
    found = found_in(tmp_path, tree)
    with Monitor(found.sensors):
        pass
    assert {sensor.name for sensor in found.sensors} == sensors
    assert set(found.missing) == missing


@pytest.mark.parametrize(
    ("tree", "device", "expected"),
    [
        pytest.param(
            "orin-nano", "cuda: Orin", "INA3221 VDD_IN", id="a-jetson-measures-gpu-and-cpu-together"
        ),
        pytest.param("orin-nano", "CPUExecutionProvider", "INA3221 VDD_IN", id="jetson-cpu"),
        pytest.param("x86-desktop", "CPU", "RAPL package-0 + package-0 dram", id="x86"),
    ],
)
def test_the_meter_is_of_what_the_model_runs_on(
    tree: str, device: str, expected: str, tmp_path: Path
) -> None:
    found = found_in(tmp_path, tree)
    meter = found.power_meter(device)
    assert isinstance(meter, PowerMeter)
    assert meter.name == expected
    with Monitor(found.sensors):
        pass


@pytest.mark.parametrize(
    ("tree", "device", "reason"),
    [
        pytest.param("x86-desktop", "CUDAExecutionProvider", NO_CARD, id="rapl-is-no-meter-of-a-card"),
        pytest.param("virtual-machine", "CPU", "no RAPL counters", id="virtual-machine"),
        pytest.param(
            "unknown-rails",
            "cuda: Orin",
            "none of the rails RAIL_A, RAIL_B is known to supply the whole module; " + NO_PROGRAM,
            id="unknown-rails",
        ),
    ],
)
def test_without_a_meter_there_is_a_reason(tree: str, device: str, reason: str, tmp_path: Path) -> None:
    found = found_in(tmp_path, tree)
    assert reason in str(found.power_meter(device))
    with Monitor(found.sensors):
        pass


def test_the_power_of_a_card_is_not_that_of_the_cpu() -> None:
    card = Scripted("NVML GPU 0", (), [])
    card.meter = PowerMeter(name="NVML", covers="board", channels=(), update_s=0.1, nvidia_gpu=0)
    assert Sensors((card,), {"RAPL": "for root only"}).power_meter("CPU") == "for root only"


def test_tegrastats_stands_in_for_rails_that_do_not_make_a_module(tmp_path: Path) -> None:
    program = Scripted("tegrastats", (), [])
    found = found_in(tmp_path, "unknown-rails", program)
    assert found.sensors[-1] is program
    with Monitor(found.sensors):
        pass


def test_this_machine_is_read_without_an_error() -> None:
    found = open_sensors()
    with Monitor(found.sensors) as monitor:
        monitor.sample()
    assert not monitor.trace().lost
