"""Clocks, temperatures and signs of throttling are found in recorded trees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from devices.monitors.file_sensor import FileSensor
from devices.monitors.sensor import Kind
from devices.monitors.system_files import MOST_CPU_CLOCKS, open_clocks, open_temperatures, open_throttling
from tests.devices.monitors.trees import TREES, cpu_clocks, write


def read(open_sensor: Callable[[Path], FileSensor | str], root: Path, kind: Kind) -> dict[str, float]:
    sensor = open_sensor(root)
    assert isinstance(sensor, FileSensor), sensor
    found = dict(zip(sensor.channels, sensor.read(), strict=True))
    assert len(found) == len(sensor.channels), "no channel is there twice"
    sensor.close()
    return {channel.name: value for channel, value in found.items() if channel.kind == kind}


@pytest.mark.parametrize(
    ("board", "clocks"),
    [
        pytest.param(
            "orin-nano", {"cpu": 1497.6, "gpu": 612, "memory": 2133}, id="the-fastest-core-gpu-and-memory"
        ),
        pytest.param("agx-orin", {"cpu": 2201.6, "gpu": 1300.5}, id="older-name-of-the-gpu"),
        pytest.param("nano", {"cpu": 102, "gpu": 76.8}, id="without-root-no-clock-of-the-memory"),
        pytest.param("x86-desktop", {"cpu": 3600}, id="x86"),
    ],
)
def test_clocks(board: str, clocks: dict[str, float], tmp_path: Path) -> None:
    assert read(open_clocks, write(tmp_path, TREES[board]), "clock_mhz") == pytest.approx(clocks)


def test_thor_has_the_clock_of_its_memory_in_devfreq(tmp_path: Path) -> None:
    files = {
        "sys/class/devfreq/bwmgr/cur_freq": "4266000000\n",
        "sys/class/devfreq/gpu-gpc-0/cur_freq": "1575000000\n",
    }
    found = read(open_clocks, write(tmp_path, files), "clock_mhz")
    assert found == pytest.approx({"gpu": 1575, "memory": 4266})


def test_a_large_server_has_some_of_its_clocks_read(tmp_path: Path) -> None:
    sensor = open_clocks(write(tmp_path, cpu_clocks(*range(1, 4 * MOST_CPU_CLOCKS))))
    assert isinstance(sensor, FileSensor)
    (cores,) = sensor._values
    assert len(cores._values) == MOST_CPU_CLOCKS  # type: ignore[attr-defined]
    sensor.close()


def test_temperatures_are_of_zones_that_are_on(tmp_path: Path) -> None:
    found = read(open_temperatures, write(tmp_path, TREES["orin-nano"]), "temperature_c")
    assert found == pytest.approx({"cpu-thermal": 57.125, "gpu-thermal": 58.625, "tj-thermal": 58.312})


def test_a_processor_without_a_zone_has_its_own_sensor(tmp_path: Path) -> None:
    found = read(open_temperatures, write(tmp_path, TREES["amd-desktop"]), "temperature_c")
    assert found == pytest.approx({"k10temp hwmon1": 61.25})


def test_a_jetson_counts_over_currents_and_raises_alerts(tmp_path: Path) -> None:
    root = write(tmp_path, TREES["orin-nano"])
    assert read(open_throttling, root, "throttle_count") == {
        "under-voltage": 0,
        "average over-current": 15,
        "instantaneous over-current": 37,
    }
    assert read(open_throttling, root, "throttle_state") == {"gpu-throttle-alert": 0}


def test_an_intel_package_is_counted_once(tmp_path: Path) -> None:
    found = read(open_throttling, write(tmp_path, TREES["x86-desktop"]), "throttle_count")
    assert found == {"heat of CPU package 0": 7}


@pytest.mark.parametrize("open_sensor", [open_clocks, open_temperatures, open_throttling])
def test_a_virtual_machine_has_reasons(
    open_sensor: Callable[[Path], FileSensor | str], tmp_path: Path
) -> None:
    assert str(open_sensor(write(tmp_path, TREES["virtual-machine"]))).startswith("this system ")
