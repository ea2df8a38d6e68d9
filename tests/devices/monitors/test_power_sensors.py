"""The right rails and counters make the power meter of each machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from devices.monitors.file_sensor import FileSensor
from devices.monitors.ina3221 import open_ina3221
from devices.monitors.rapl import READABLE, open_rapl
from devices.monitors.sensor import Channel, SensorLostError
from tests.devices.monitors.trees import TREES, Tree, rapl, write


def opened(sensor: FileSensor | str) -> FileSensor:
    assert isinstance(sensor, FileSensor), sensor
    return sensor


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def total(sensor: FileSensor) -> float:
    """The sum of the channels of its meter."""
    assert sensor.meter is not None
    found = dict(zip(sensor.channels, sensor.read(), strict=True))
    return sum(found[channel] for channel in sensor.meter.channels)


@pytest.mark.parametrize(
    ("board", "name", "milliwatt", "update_s"),
    [
        pytest.param("orin-nano", "INA3221 VDD_IN", 4.984 * 3275, 0.1, id="orin-nano"),
        pytest.param(
            "agx-orin",
            "INA3221 VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0",
            2390 + 796 + 3520,
            0.1,
            id="agx-orin-without-the-rail-that-is-part-of-another",
        ),
        pytest.param("nano", "INA3221 POM_5V_IN", 933, 0.1, id="nano"),
        pytest.param(
            "agx-xavier",
            "INA3221 GPU + CPU + SOC + CV + VDDRQ + SYS5V",
            1155 + 385 + 2502 + 192 + 2692,
            0.1,
            id="agx-xavier",
        ),
    ],
)
def test_the_meter_of_a_jetson_is_the_whole_module(
    board: str, name: str, milliwatt: float, update_s: float, tmp_path: Path
) -> None:
    sensor = opened(open_ina3221(write(tmp_path, TREES[board])))
    assert sensor.meter is not None
    assert (sensor.meter.name, sensor.meter.update_s) == (name, update_s)
    assert sensor.meter.covers.startswith("the whole Jetson module")
    assert total(sensor) == pytest.approx(milliwatt)
    sensor.close()


def test_rails_without_a_connection_and_sums_of_shunts_are_left_out(tmp_path: Path) -> None:
    sensor = opened(open_ina3221(write(tmp_path, TREES["agx-orin"])))
    names = [channel.name for channel in sensor.channels]
    assert names == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]
    sensor.close()


def test_rails_that_are_not_known_to_feed_the_module_are_no_meter(tmp_path: Path) -> None:
    sensor = opened(open_ina3221(write(tmp_path, TREES["unknown-rails"])))
    assert (sensor.meter, len(sensor.channels)) == (None, 2)
    sensor.close()


def test_a_system_without_the_chip_is_a_reason(tmp_path: Path) -> None:
    assert "no INA3221 in /sys/bus/i2c" in str(open_ina3221(tmp_path))


@pytest.mark.parametrize(
    ("machine", "names", "millijoule", "covers"),
    [
        pytest.param(
            "x86-desktop",
            ["package-0", "package-0 dram"],
            7000,
            "CPU packages and their memory",
            id="desktop",
        ),
        pytest.param(
            "x86-two-sockets",
            ["package-0", "package-0 dram", "package-1", "package-1 dram"],
            33000,
            "CPU packages and their memory",
            id="two-sockets",
        ),
        pytest.param("amd-desktop", ["package-0"], 4000, "CPU packages, without memory", id="amd"),
    ],
)
def test_rapl_adds_packages_and_memory_and_nothing_twice(
    machine: str, names: list[str], millijoule: float, covers: str, tmp_path: Path
) -> None:
    sensor = opened(open_rapl(write(tmp_path, TREES[machine])))
    assert [channel.name for channel in sensor.channels] == names
    assert sensor.meter is not None
    assert (sensor.meter.covers, sensor.meter.counts_energy) == (covers, True)
    assert total(sensor) == pytest.approx(millijoule)
    sensor.close()


def test_a_counter_that_starts_again_goes_on_growing(tmp_path: Path) -> None:
    write(tmp_path, rapl("intel-rapl:0", "package-0", 262_143_000_000))
    sensor = opened(open_rapl(tmp_path))
    before = total(sensor)
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").write_text("1000000\n")
    assert total(sensor) - before == pytest.approx((262_143_328_850 - 262_143_000_000 + 1_000_000) / 1e3)
    sensor.close()


def test_counters_for_root_only_are_a_reason_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, TREES["x86-two-sockets"])
    really_open, files = os.open, open_files()

    def as_a_user(path: Any, *rest: Any) -> int:
        if "intel-rapl:1" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return really_open(path, *rest)

    monkeypatch.setattr(os, "open", as_a_user)
    assert open_rapl(tmp_path) == f"the RAPL counters may be read by root only: {READABLE}"
    monkeypatch.undo()
    assert open_files() == files, "the counters that could be opened are closed"


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        pytest.param({}, "no RAPL counters in /sys/class/powercap", id="none"),
        pytest.param(rapl("intel-rapl:1", "psys", 1), "no RAPL counters", id="only-the-platform"),
        pytest.param(
            {**rapl("intel-rapl:0", "package-0", 1), "sys/class/powercap/intel-rapl:0/energy_uj": "\n"},
            "the RAPL counters cannot be read: the file is empty",
            id="empty",
        ),
    ],
)
def test_counters_that_are_not_there_are_a_reason(tree: Tree, reason: str, tmp_path: Path) -> None:
    assert reason in str(open_rapl(write(tmp_path, tree)))


def test_one_file_without_a_number_is_nan_and_all_are_a_loss(tmp_path: Path) -> None:
    sensor = opened(open_rapl(write(tmp_path, TREES["x86-two-sockets"])))
    zones = sorted((tmp_path / "sys/class/powercap").iterdir())
    (zones[0] / "energy_uj").write_text("")
    values = dict(zip(sensor.channels, sensor.read(), strict=True))
    assert values[Channel("energy_mj", "package-0")] != values[Channel("energy_mj", "package-0")]
    assert values[Channel("energy_mj", "package-1")] == 20000
    for zone in zones:
        (zone / "energy_uj").write_text("")
    with pytest.raises(SensorLostError, match="the file is empty"):
        sensor.read()
    sensor.close()
