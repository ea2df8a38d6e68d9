"""NVML through ctypes, against a C library with its functions, and beside NVIDIA's own Python binding."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.monitors.find import Sensors
from devices.monitors.nvml import LIBRARY, POWER_CAP, THROTTLE_BITS
from devices.monitors.nvml_sensor import ENERGY_UPDATE_S, POWER_MEAN_S, NvmlSensor, open_nvml, used_gpu
from devices.monitors.sensor import Channel, PowerMeter, SensorLostError

SOURCE = Path(__file__).with_name("nvml_stub.c")
FULL = {
    Channel("power_mw", "gpu 0"): 43210,
    Channel("clock_mhz", "gpu 0"): 1530,
    Channel("clock_mhz", "memory of gpu 0"): 877,
    Channel("temperature_c", "gpu 0"): 61,
    Channel("throttle_bits", "gpu 0"): 0x44,
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    path = tmp_path_factory.mktemp("nvml") / LIBRARY
    command = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(path), str(SOURCE)]
    subprocess.run(command, check=True)
    return str(path)


@pytest.fixture
def cards(library: str) -> Iterator[list[NvmlSensor]]:
    found = open_nvml(library)
    assert isinstance(found, list), found
    yield found
    for card in found:
        card.close()
    assert ctypes.CDLL(library).stub_users() == 0, "the library is shut down as often as initialised"


def test_a_card_has_all_its_figures(cards: list[NvmlSensor]) -> None:
    found = dict(zip(cards[0].channels, cards[0].read(), strict=True))
    energy = found.pop(Channel("energy_mj", "gpu 0"))
    assert energy > 5_000_000_000
    assert found == FULL
    assert cards[0].name == "NVML GPU 0 Tesla V100-SXM2-16GB"


def test_the_energy_counter_is_the_meter_where_there_is_one(cards: list[NvmlSensor]) -> None:
    meters = [card.meter for card in cards]
    assert [m.counts_energy for m in meters if m] == [True, False]
    assert [m.update_s for m in meters if m] == [ENERGY_UPDATE_S, POWER_MEAN_S]
    assert [m.nvidia_gpu for m in meters if m] == [0, 1]


def test_a_card_that_measures_nothing_is_left_out(cards: list[NvmlSensor]) -> None:
    assert [card.index for card in cards] == [0, 1]


def test_a_card_that_falls_off_the_bus_is_lost(
    cards: list[NvmlSensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_LOST", "1")
    with pytest.raises(SensorLostError, match="GPU is lost"):
        cards[0].read()


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        pytest.param("STUB_NO_DRIVER", "1", "NVML: Driver Not Loaded", id="no-driver"),
        pytest.param("STUB_CARDS", "0", "NVML: this machine has no graphics card", id="no-card"),
    ],
)
def test_a_driver_without_cards_is_a_reason(
    variable: str, value: str, reason: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert open_nvml(library) == reason
    assert ctypes.CDLL(library).stub_users() == 0


def test_a_missing_library_is_a_reason(tmp_path: Path) -> None:
    assert "comes with the NVIDIA driver" in str(open_nvml(str(tmp_path / LIBRARY)))


def test_another_library_of_that_name_is_a_reason(tmp_path: Path, library: str) -> None:
    empty = tmp_path / "empty.c"
    empty.write_text('char *nvmlErrorString(int x) { return "none"; }\n')
    other = tmp_path / LIBRARY
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(other), str(empty)], check=True)
    assert open_nvml(str(other)) == "NVML: this driver's NVML has no nvmlInit_v2"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, "not known which of the 2", id="unknown-order-of-different-cards"),
        pytest.param({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, 0, id="first-in-the-order-of-the-bus"),
        pytest.param({"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1,0"}, 1, id="by-index"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "GPU-bb"}, 1, id="by-identity"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "1"}, "not known", id="index-in-an-unknown-order"),
    ],
)
def test_the_card_of_this_process_is_found_or_is_not_known(
    environment: dict[str, str], expected: int | str, cards: list[NvmlSensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = used_gpu(cards)
    assert found == expected if isinstance(expected, int) else expected in str(found)


@pytest.mark.parametrize(
    ("environment", "device", "expected"),
    [
        pytest.param({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, 1, 1, id="in-the-order-of-the-bus"),
        pytest.param({"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1,0"}, 1, 0, id="by-index"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "GPU-bb,GPU-aa"}, 1, 0, id="by-identity"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "GPU-bb"}, 1, "CUDA device 1 is not among", id="not-visible"),
        pytest.param({}, 1, "not known which of the 2", id="unknown-order-of-different-cards"),
    ],
)
def test_another_cuda_device_is_another_card(
    environment: dict[str, str],
    device: int,
    expected: int | str,
    cards: list[NvmlSensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = used_gpu(cards, device)
    assert found == expected if isinstance(expected, int) else expected in str(found)


@pytest.mark.parametrize("device", ["cuda:1: NVIDIA L4", "CUDAExecutionProvider: device 1"])
def test_the_meter_is_that_of_the_device_a_backend_names(
    device: str, cards: list[NvmlSensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    meters = [Sensors(tuple(cards), {}).power_meter(name) for name in (device, "cuda: NVIDIA L4")]
    assert [meter.nvidia_gpu for meter in meters if isinstance(meter, PowerMeter)] == [1, 0]


def test_one_card_is_the_card(cards: list[NvmlSensor]) -> None:
    assert used_gpu(cards[1:]) == 1


def test_nvidias_own_binding_reads_the_same_from_the_same_library(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pynvml: Any = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(library))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    pynvml.nvmlLib.nvmlInit_v2()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    assert pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) > 5_000_000_000
    assert {
        Channel("power_mw", "gpu 0"): pynvml.nvmlDeviceGetPowerUsage(handle),
        Channel("clock_mhz", "gpu 0"): pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
        Channel("clock_mhz", "memory of gpu 0"): pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM),
        Channel("temperature_c", "gpu 0"): pynvml.nvmlDeviceGetTemperature(
            handle, pynvml.NVML_TEMPERATURE_GPU
        ),
        Channel("throttle_bits", "gpu 0"): pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
    } == FULL
    pynvml.nvmlLib.nvmlShutdown()


def test_the_bits_are_those_of_nvidias_binding() -> None:
    pynvml: Any = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    assert pynvml.nvmlClocksEventReasonSwPowerCap == POWER_CAP
    names = ("SwPowerCap", "HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown")
    assert list(THROTTLE_BITS) == [getattr(pynvml, f"nvmlClocksEventReason{name}") for name in names]
