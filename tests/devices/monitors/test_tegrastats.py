"""Every form of a line of tegrastats is read, and a running program is a sensor."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from devices.monitors.sensor import Channel, SensorLostError
from devices.monitors.tegrastats import Tegrastats, parse_line
from devices.monitors.tegrastats_process import TegrastatsProcess, open_tegrastats

# Published lines, with shortened lists of cores.
NANO_USER = (
    "RAM 330/3964MB (lfb 758x4MB) SWAP 0/1982MB (cached 0MB) CPU [12%@102,0%@102,0%@102,0%@102] EMC_FREQ 0% "
    "GR3D_FREQ 31% PLL@20.5C CPU@23C PMIC@100C GPU@22.5C AO@27C thermal@22.5C POM_5V_IN 933/933 "
    "POM_5V_GPU 0/0 POM_5V_CPU 84/84"
)
NANO_ROOT = (
    "RAM 331/3964MB (lfb 758x4MB) SWAP 0/1982MB (cached 0MB) IRAM 0/252kB(lfb 252kB) "
    "CPU [5%@102,0%@102,0%@102,0%@102] EMC_FREQ 3%@204 GR3D_FREQ 9%@76 APE 25 PLL@20.5C CPU@23.5C PMIC@100C "
    "GPU@22.5C AO@27.5C thermal@23C POM_5V_IN 933/933 POM_5V_GPU 0/0 POM_5V_CPU 84/105"
)
TX2 = (
    "RAM 696/7854MB (lfb 1675x4MB) CPU [3%@345,off,off,2%@345,1%@345,0%@345] EMC_FREQ 1%@665"
    " GR3D_FREQ 7%@140 APE 150 MTS fg 0% bg 0% BCPU@30C MCPU@30C GPU@28C PLL@30C Tboard@26C Tdiode@27C"
    " PMIC@100C thermal@29.2C "
    "VDD_IN 1383/1383 VDD_CPU 153/191 VDD_GPU 76/76 VDD_SOC 384/384 VDD_WIFI 364/335 VDD_DDR 192/201"
)
AGX_XAVIER = (
    "RAM 408/15823MB (lfb 3702x4MB) SWAP 0/7911MB (cached 0MB) CPU [1%@2265,0%@2265] EMC_FREQ 0%@2133 "
    "GR3D_FREQ 44%@1377 APE 150 MTS fg 0% bg 0% AO@26.5C GPU@28C iwlwifi@30C Tdiode@31.25C PMIC@100C AUX@27C "
    "CPU@28C thermal@27.45C Tboard@27C GPU 1155/1155 CPU 385/385 SOC 2502/2502 CV 0/0 VDDRQ 192/192 "
    "SYS5V 2692/2692"
)
AGX_ORIN_JP5 = (
    "01-03-2023 16:07:54 RAM 2257/30536MB (lfb 5392x4MB) SWAP 0/15268MB (cached 0MB) CPU [1%@729,0%@2201] "
    "EMC_FREQ 0%@204 GR3D_FREQ 3%@0 GR3D2_FREQ 2%@0 NVJPG1 729 VIC_FREQ 115 APE 233 CV0@-256C CPU@41.437C "
    "Tboard@29C SOC2@39.062C Tdiode@30.75C SOC0@39.031C CV1@-256C GPU@-256C tj@41.656C SOC1@38.937C CV2@-256C"
    " VDD_GPU_SOC 2390mW/2390mW VDD_CPU_CV 796mW/796mW VIN_SYS_5V0 3522mW/3522mW NC 0mW/0mW "
    "VDDQ_VDD2_1V8AO 301mW/301mW NC 0mW/0mW"
)
ORIN_NANO_JP6 = (
    "10-08-2026 04:35:02 RAM 6712/7620MB (lfb 12x4MB) SWAP 369/3810MB (cached 8MB) "
    "CPU [38%@1497,2%@729,1%@729,0%@729,1%@729,0%@729] EMC_FREQ 61%@2133 GR3D_FREQ 99%@[612] NVDEC off "
    "NVJPG off VIC off OFA off APE 200 cpu@57.125C soc2@55.093C soc0@56.625C gpu@58.625C tj@58.312C "
    "soc1@55.937C VDD_IN 16321mW/11204mW VDD_CPU_GPU_CV 7104mW/4944mW VDD_SOC 3120mW/3659mW"
)
AGX_ORIN_JP7 = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201,0%@729] EMC_FREQ 3%@3199 "
    "GR3D_FREQ 12%@[1300,1300] NVENC0 off NVDEC0 off NVJPG0 off NVJPG1 off VIC off OFA off NVDLA0 off "
    "NVDLA1 off PVA0_FREQ off APE 174 cpu@52.968C/52.968C soc2@48.406C/48.406C gpu@47.625C/47.625C "
    "VDD_GPU_SOC 5139mW/5139mW/5139mW VDD_CPU_CV 3268mW/3268mW/3268mW VIN_SYS_5V0 5500mW/5500mW/5500mW"
)
THOR_JP7 = (
    "04-21-2026 15:50:52 RAM 105265/125772MB (lfb 34x4MB) CPU [0%@972,0%@972] EMC_FREQ 0%@2750 "
    "GR3D_FREQ @[314,314,314] NVENC0_FREQ @314 NVENC1_FREQ @314 NVDEC0_FREQ @314 NVDEC1_FREQ @314 "
    "NVJPG0_FREQ @314 VIC off OFA_FREQ @315 PVA0_FREQ off APE 300 cpu@37.343C tj@38.875C soc012@37.468C "
    "gpu@38.875C soc345@37.406C VDD_GPU 1962mW/1962mW VDD_CPU_SOC_MSS 5887mW/5887mW "
    "VIN_SYS_5V0 5635mW/5635mW VIN 19780mW/19780mW"
)
THOR_R39 = (
    "07-25-2026 09:08:28 RAM 1/125772MB (lfb 34x4MB) CPU [0%@972] EMC_FREQ 0%@2750 "
    "GR3D_FREQ 87%@[1574,1574,1574] cpu@37.343C/40C VIN 124486mW/36487mW/124486mW"
)
GPU_ALONE = "RAM 1/2MB CPU [0%@972] GR3D_FREQ @318 gpu@20C"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            NANO_USER,
            Tegrastats(
                power_mw={"POM_5V_IN": 933, "POM_5V_GPU": 0, "POM_5V_CPU": 84},
                temperatures_c={"PLL": 20.5, "CPU": 23, "GPU": 22.5, "AO": 27, "thermal": 22.5},
                cpu_mhz=(102, 102, 102, 102),
                gpu_mhz=(),
                gpu_load=0.31,
                memory_mhz=None,
            ),
            id="nano-user",
        ),
        pytest.param(
            NANO_ROOT,
            Tegrastats(
                power_mw={"POM_5V_IN": 933, "POM_5V_GPU": 0, "POM_5V_CPU": 84},
                temperatures_c={"PLL": 20.5, "CPU": 23.5, "GPU": 22.5, "AO": 27.5, "thermal": 23},
                cpu_mhz=(102, 102, 102, 102),
                gpu_mhz=(76,),
                gpu_load=0.09,
                memory_mhz=204,
            ),
            id="nano-root",
        ),
        pytest.param(
            TX2,
            Tegrastats(
                power_mw={
                    "VDD_IN": 1383,
                    "VDD_CPU": 153,
                    "VDD_GPU": 76,
                    "VDD_SOC": 384,
                    "VDD_WIFI": 364,
                    "VDD_DDR": 192,
                },
                temperatures_c={
                    "BCPU": 30,
                    "MCPU": 30,
                    "GPU": 28,
                    "PLL": 30,
                    "Tboard": 26,
                    "Tdiode": 27,
                    "thermal": 29.2,
                },
                cpu_mhz=(345, 345, 345, 345),
                gpu_mhz=(140,),
                gpu_load=0.07,
                memory_mhz=665,
            ),
            id="tx2-with-cores-off",
        ),
        pytest.param(
            AGX_XAVIER,
            Tegrastats(
                power_mw={"GPU": 1155, "CPU": 385, "SOC": 2502, "CV": 0, "VDDRQ": 192, "SYS5V": 2692},
                temperatures_c={
                    "AO": 26.5,
                    "GPU": 28,
                    "iwlwifi": 30,
                    "Tdiode": 31.25,
                    "AUX": 27,
                    "CPU": 28,
                    "thermal": 27.45,
                    "Tboard": 27,
                },
                cpu_mhz=(2265, 2265),
                gpu_mhz=(1377,),
                gpu_load=0.44,
                memory_mhz=2133,
            ),
            id="agx-xavier-rails-named-as-units",
        ),
        pytest.param(
            AGX_ORIN_JP5,
            Tegrastats(
                power_mw={
                    "VDD_GPU_SOC": 2390,
                    "VDD_CPU_CV": 796,
                    "VIN_SYS_5V0": 3522,
                    "VDDQ_VDD2_1V8AO": 301,
                },
                temperatures_c={
                    "CPU": 41.437,
                    "Tboard": 29,
                    "SOC2": 39.062,
                    "Tdiode": 30.75,
                    "SOC0": 39.031,
                    "tj": 41.656,
                    "SOC1": 38.937,
                },
                cpu_mhz=(729, 2201),
                gpu_mhz=(0,),
                gpu_load=0.03,
                memory_mhz=204,
            ),
            id="agx-orin-jetpack-5",
        ),
        pytest.param(
            ORIN_NANO_JP6,
            Tegrastats(
                power_mw={"VDD_IN": 16321, "VDD_CPU_GPU_CV": 7104, "VDD_SOC": 3120},
                temperatures_c={
                    "cpu": 57.125,
                    "soc2": 55.093,
                    "soc0": 56.625,
                    "gpu": 58.625,
                    "tj": 58.312,
                    "soc1": 55.937,
                },
                cpu_mhz=(1497, 729, 729, 729, 729, 729),
                gpu_mhz=(612,),
                gpu_load=0.99,
                memory_mhz=2133,
            ),
            id="orin-nano-jetpack-6",
        ),
        pytest.param(
            AGX_ORIN_JP7,
            Tegrastats(
                power_mw={"VDD_GPU_SOC": 5139, "VDD_CPU_CV": 3268, "VIN_SYS_5V0": 5500},
                temperatures_c={"cpu": 52.968, "soc2": 48.406, "gpu": 47.625},
                cpu_mhz=(2201, 729),
                gpu_mhz=(1300, 1300),
                gpu_load=0.12,
                memory_mhz=3199,
            ),
            id="agx-orin-jetpack-7",
        ),
        pytest.param(
            THOR_JP7,
            Tegrastats(
                power_mw={"VDD_GPU": 1962, "VDD_CPU_SOC_MSS": 5887, "VIN_SYS_5V0": 5635, "VIN": 19780},
                temperatures_c={
                    "cpu": 37.343,
                    "tj": 38.875,
                    "soc012": 37.468,
                    "gpu": 38.875,
                    "soc345": 37.406,
                },
                cpu_mhz=(972, 972),
                gpu_mhz=(314, 314, 314),
                gpu_load=None,
                memory_mhz=2750,
            ),
            id="thor-jetpack-7",
        ),
        pytest.param(
            THOR_R39,
            Tegrastats(
                power_mw={"VIN": 124486},
                temperatures_c={"cpu": 37.343},
                cpu_mhz=(972,),
                gpu_mhz=(1574, 1574, 1574),
                gpu_load=0.87,
                memory_mhz=2750,
            ),
            id="thor-r39",
        ),
        pytest.param(
            GPU_ALONE,
            Tegrastats(
                power_mw={},
                temperatures_c={"gpu": 20},
                cpu_mhz=(972,),
                gpu_mhz=(318,),
                gpu_load=None,
                memory_mhz=None,
            ),
            id="gpu-clock-without-bracket-or-load",
        ),
    ],
)
def test_every_form_of_a_line_is_read(line: str, expected: Tegrastats) -> None:
    assert parse_line(line) == expected


@pytest.mark.parametrize("text", ["", "tegrastats: permission denied", "RAM 330/3964MB", "CPU [1%@2]"])
def test_what_is_no_line_of_tegrastats_is_none(text: str) -> None:
    assert parse_line(text) is None


def program(path: Path, *lines: str, then: str = "read forever") -> str:
    """A stand-in for tegrastats; it takes the same options, prints lines and stays or ends."""
    text = "\n".join(f"echo '{line}'" for line in lines)
    path.write_text(f'#!/bin/sh\n[ "$1" = --interval ] && [ "$2" = 100 ] || exit 9\n{text}\n{then}\n')
    path.chmod(0o755)
    return str(path)


STAY = "exec sleep 60"


def test_a_running_program_is_a_sensor_with_the_meter_of_the_whole_module(tmp_path: Path) -> None:
    sensor = TegrastatsProcess(program(tmp_path / "tegrastats", "starting", ORIN_NANO_JP6, then=STAY))
    try:
        found = dict(zip(sensor.channels, sensor.read(), strict=True))
    finally:
        sensor.close()
    assert found[Channel("power_mw", "VDD_IN")] == 16321
    assert found[Channel("clock_mhz", "gpu")] == 612
    assert found[Channel("clock_mhz", "cpu")] == 1497
    assert found[Channel("temperature_c", "tj")] == 58.312
    assert sensor.meter is not None
    assert sensor.meter.name == "tegrastats VDD_IN"
    assert sensor.meter.channels == (Channel("power_mw", "VDD_IN"),)


def test_the_newest_of_several_lines_counts(tmp_path: Path) -> None:
    lines = (THOR_JP7, THOR_JP7.replace("19780mW", "25000mW"))
    code = "import sys, time; sys.stdout.write(%r); sys.stdout.flush(); time.sleep(60)"
    path = tmp_path / "tegrastats"
    path.write_text(f"#!{sys.executable}\n{code % (chr(10).join(lines) + chr(10))}\n")
    path.chmod(0o755)
    sensor = TegrastatsProcess(str(path))
    try:
        found = dict(zip(sensor.channels, sensor.read(), strict=True))
    finally:
        sensor.close()
    assert found[Channel("power_mw", "VIN")] == 25000


def test_a_program_that_ends_is_lost_with_its_exit_status(tmp_path: Path) -> None:
    sensor = TegrastatsProcess(program(tmp_path / "tegrastats", NANO_USER, then="sleep 0.1; exit 3"))
    sensor._process.wait(10)
    with pytest.raises(SensorLostError, match="tegrastats ended with exit status 3"):
        sensor.read()
    sensor.close()


def test_a_program_that_fails_at_once_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "tegrastats", then="exit 4")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert open_tegrastats() == "tegrastats ended with exit status 4"


def test_a_missing_program_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert open_tegrastats() == "the program tegrastats is not installed, as in most containers"
