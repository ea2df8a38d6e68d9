"""File trees of machines with sensors, as their systems show them; shortened to what the monitors read.

``python -m tests.devices.monitors.trees agx-orin DIR`` writes one, which
``python -m benchmarks.monitoring.cost --root DIR`` reads.
"""

from __future__ import annotations

import sys
from pathlib import Path

Tree = dict[str, str]

#: A value that begins so is the target of a symbolic link, from the root of the tree.
LINK = "-> "


def write(root: Path, files: Tree) -> Path:
    """Write a tree under ``root``."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith(LINK):
            path.symlink_to(root / text.removeprefix(LINK))
        else:
            path.write_text(text)
    return root


def ina3221(bus: str, number: int, rails: dict[int, tuple[str, int, int]], **more: str) -> Tree:
    """A sensor by the driver of Linux: label, mV and mA of each input."""
    place = f"sys/devices/platform/c240000.i2c/i2c-1/{bus}"
    hwmon = f"{place}/hwmon/hwmon{number}"
    files = {f"{hwmon}/name": "ina3221\n", f"{place}/name": "ina3221\n"}
    for k, (label, millivolt, milliampere) in rails.items():
        files |= {f"{hwmon}/in{k}_label": f"{label}\n", f"{hwmon}/in{k}_input": f"{millivolt}\n"}
        files |= {f"{hwmon}/curr{k}_input": f"{milliampere}\n", f"{hwmon}/in{k + 3}_input": "40\n"}
    files |= {f"{hwmon}/in7_label": "sum of shunt voltages\n", f"{hwmon}/in7_input": "120\n"}
    files |= {f"{hwmon}/{name}": text for name, text in more.items()}
    files[f"sys/bus/i2c/devices/{bus}"] = f"{LINK}{place}"
    files[f"sys/bus/i2c/drivers/ina3221/{bus}"] = f"{LINK}{place}"
    files[f"sys/class/hwmon/hwmon{number}"] = f"{LINK}{hwmon}"
    return files


def ina3221x(bus: str, number: int, rails: dict[int, tuple[str, int]]) -> Tree:
    """A sensor by the driver of JetPack 4: name and mW of each rail."""
    place = f"sys/devices/7000c400.i2c/i2c-6/{bus}"
    iio = f"{place}/iio:device{number}"
    files = {f"{iio}/name": "ina3221x\n", f"{place}/name": "ina3221x\n"}
    for k, (name, milliwatt) in rails.items():
        files |= {f"{iio}/rail_name_{k}": f"{name}\n", f"{iio}/in_power{k}_input": f"{milliwatt}\n"}
    files[f"sys/bus/i2c/devices/{bus}"] = f"{LINK}{place}"
    files[f"sys/bus/i2c/drivers/ina3221x/{bus}"] = f"{LINK}{place}"
    return files


def zones(**celsius: float) -> Tree:
    """Thermal zones by name; an underscore is a hyphen."""
    files = {}
    for k, (name, value) in enumerate(celsius.items()):
        folder = f"sys/class/thermal/thermal_zone{k}"
        files |= {
            f"{folder}/type": f"{name.replace('_', '-')}\n",
            f"{folder}/temp": f"{round(value * 1000)}\n",
        }
    return files


def cpu_clocks(*khz: int) -> Tree:
    """A cpufreq policy for each clock."""
    folder = "sys/devices/system/cpu/cpufreq/policy"
    return {f"{folder}{k}/scaling_cur_freq": f"{value}\n" for k, value in enumerate(khz)}


def jetson(release: str, *compatible: str) -> Tree:
    """The identity of a Jetson."""
    names = "\0".join(compatible) + "\0"
    return {"proc/device-tree/compatible": names, "etc/nv_tegra_release": f"# {release}, GCID: 1, BOARD: x\n"}


def soctherm(number: int, counts: tuple[int, int, int]) -> Tree:
    """Counters of over-current events, and an alert that is not in force."""
    folder = f"sys/class/hwmon/hwmon{number}"
    files = {f"{folder}/name": "soctherm_oc\n"}
    files |= {f"{folder}/oc{k}_event_cnt": f"{count}\n" for k, count in enumerate(counts, 1)}
    alert = "sys/class/thermal/cooling_device2"
    return {**files, f"{alert}/type": "gpu-throttle-alert\n", f"{alert}/cur_state": "0\n"}


def rapl(zone: str, name: str, microjoule: int) -> Tree:
    """One zone of RAPL."""
    folder = f"sys/class/powercap/{zone}"
    return {
        f"{folder}/name": f"{name}\n",
        f"{folder}/energy_uj": f"{microjoule}\n",
        f"{folder}/max_energy_range_uj": "262143328850\n",
    }


TREES: dict[str, Tree] = {
    # JetPack 6, R36.4.3: one chip, VDD_IN feeds all.
    "orin-nano": {
        **jetson("R36 (release), REVISION: 4.3", "nvidia,p3767-0005", "nvidia,tegra234"),
        **ina3221(
            "1-0040",
            1,
            {
                1: ("VDD_IN", 4984, 3275),
                2: ("VDD_CPU_GPU_CV", 4984, 1425),
                3: ("VDD_SOC", 4984, 626),
            },
        ),
        **zones(cpu_thermal=57.125, gpu_thermal=58.625, tj_thermal=58.312, cv0_thermal=-256, PMIC_Die=100),
        **cpu_clocks(1497600, 729600),
        **soctherm(2, (0, 15, 37)),
        "sys/class/devfreq/17000000.gpu/cur_freq": "612000000\n",
        "sys/kernel/debug/bpmp/debug/clk/emc/rate": "2133000000\n",
        "var/lib/nvpmodel/status": "pmode:0001\n",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=1 NAME=25W >\n",
    },
    # JetPack 5, R35.3.1: two chips; VDDQ_VDD2_1V8AO is part of VIN_SYS_5V0.
    "agx-orin": {
        **jetson("R35 (release), REVISION: 3.1", "nvidia,p3701-0000", "nvidia,tegra234"),
        **ina3221(
            "1-0040",
            3,
            {
                1: ("VDD_GPU_SOC", 1000, 2390),
                2: ("VDD_CPU_CV", 1000, 796),
                3: ("VIN_SYS_5V0", 5000, 704),
            },
        ),
        **ina3221(
            "1-0041",
            4,
            {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 1800, 167), 3: ("NC", 0, 0)},
            update_interval="50\n",
        ),
        **zones(
            CPU_therm=41.437,
            GPU_therm=-256,
            CV0_therm=-256,
            SOC0_therm=39.031,
            SOC1_therm=38.937,
            SOC2_therm=39.062,
            tj_therm=41.656,
            Tboard_tegra=29,
            Tdiode_tegra=30.75,
        ),
        **cpu_clocks(*[729600] * 11, 2201600),
        **soctherm(5, (0, 0, 0)),
        "sys/class/devfreq/17000000.ga10b/cur_freq": "1300500000\n",
    },
    # JetPack 4, R32.7.1; the EMC clock is for root only.
    "nano": {
        **jetson("R32 (release), REVISION: 7.1", "nvidia,p3448-0000", "nvidia,tegra210"),
        **ina3221x("6-0040", 0, {0: ("POM_5V_IN", 933), 1: ("POM_5V_GPU", 0), 2: ("POM_5V_CPU", 84)}),
        **zones(PLL_therm=20.5, CPU_therm=23, PMIC_Die=100, GPU_therm=22.5),
        **cpu_clocks(102000),
        "sys/class/devfreq/57000000.gpu/cur_freq": "76800000\n",
    },
    # JetPack 4: no rail feeds all, six feed all together.
    "agx-xavier": {
        **jetson("R32 (release), REVISION: 7.1", "nvidia,p2888-0001", "nvidia,tegra194"),
        **ina3221x("1-0040", 0, {0: ("GPU", 1155), 1: ("CPU", 385), 2: ("SOC", 2502)}),
        **ina3221x("1-0041", 1, {0: ("CV", 0), 1: ("VDDRQ", 192), 2: ("SYS5V", 2692)}),
        **zones(GPU_therm=28),
    },
    # A carrier board whose labels are nobody's.
    "unknown-rails": {
        **jetson("R36 (release), REVISION: 4.3", "nvidia,tegra234"),
        **ina3221("1-0040", 1, {1: ("RAIL_A", 5000, 100), 2: ("RAIL_B", 5000, 200)}),
    },
    # A desktop: package, its parts, memory, and two zones that repeat or include the package.
    "x86-desktop": {
        **rapl("intel-rapl:0", "package-0", 5_000_000),
        **rapl("intel-rapl:0:0", "core", 3_000_000),
        **rapl("intel-rapl:0:1", "uncore", 1_000_000),
        **rapl("intel-rapl:0:2", "dram", 2_000_000),
        **rapl("intel-rapl:1", "psys", 9_000_000),
        **rapl("intel-rapl-mmio:0", "package-0", 5_000_000),
        **cpu_clocks(3_600_000, 800_000),
        **zones(x86_pkg_temp=48),
        "sys/class/hwmon/hwmon2/name": "coretemp\n",
        "sys/class/hwmon/hwmon2/temp1_input": "49000\n",
        "sys/devices/system/cpu/cpu0/topology/physical_package_id": "0\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "7\n",
        "sys/devices/system/cpu/cpu1/topology/physical_package_id": "0\n",
        "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": "7\n",
    },
    "x86-two-sockets": {
        **rapl("intel-rapl:0", "package-0", 10_000_000),
        **rapl("intel-rapl:0:0", "dram", 1_000_000),
        **rapl("intel-rapl:1", "package-1", 20_000_000),
        **rapl("intel-rapl:1:0", "dram", 2_000_000),
        **cpu_clocks(*[2_000_000] * 127, 3_100_000),
    },
    # AMD shows the tree of Intel's driver, without a zone for memory.
    "amd-desktop": {
        **rapl("intel-rapl:0", "package-0", 4_000_000),
        **rapl("intel-rapl:0:0", "core", 1_000_000),
        "sys/class/hwmon/hwmon1/name": "k10temp\n",
        "sys/class/hwmon/hwmon1/temp1_input": "61250\n",
    },
    "virtual-machine": {"proc/cpuinfo": "processor\t: 0\nflags\t: hypervisor\n"},
}


if __name__ == "__main__":
    write(Path(sys.argv[2]), TREES[sys.argv[1]])
