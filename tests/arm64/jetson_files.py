"""The files by which a Jetson Orin Nano with JetPack 6 is recognised, and a ``/proc`` for the emulated board.

Most of ``/proc`` must be the real one. Emulated programs would see the x86 processor in it, though, on which
importing onnxruntime for ARM crashes. So ``/proc`` is a folder of links to the real one, beside files of our
own. Values: those of Linux for Tegra R36.4.3 on an Orin Nano developer kit in Super mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

CORES = 6
KERNEL = "5.15.148-tegra"
#: Where the real /proc is mounted, beside the folder of links.
REAL_PROC = ".proc"
_LINKED = ("self", "thread-self", "stat", "loadavg", "uptime", "mounts", "filesystems", "version", "vmstat")
_CPU = """\
processor\t: {number}
BogoMIPS\t: 62.50
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd42
CPU revision\t: 1

"""
_INA3221 = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
_GPU = "sys/class/devfreq/17000000.gpu"
_CPUFREQ = "sys/devices/system/cpu/cpu0/cpufreq"
FILES: Mapping[str, str] = {
    "proc/cpuinfo": "".join(_CPU.format(number=number) for number in range(CORES)),
    "proc/meminfo": "MemTotal:        7801156 kB\nMemFree:         5100000 kB\nMemAvailable:    5900000 kB\n",
    "proc/sys/kernel/osrelease": f"{KERNEL}\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\n",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n"
    "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
    "var/lib/nvpmodel/status": "pmode:0001 fmode:quiet\n",
    f"{_GPU}/min_freq": "306000000\n",
    f"{_GPU}/max_freq": "918000000\n",
    f"{_GPU}/cur_freq": "306000000\n",
    f"{_INA3221}/name": "ina3221\n",
    f"{_INA3221}/in1_label": "VDD_IN\n",
    f"{_INA3221}/in1_input": "5072\n",
    f"{_INA3221}/curr1_input": "932\n",
    f"{_INA3221}/in2_label": "VDD_CPU_GPU_CV\n",
    f"{_INA3221}/in2_input": "5064\n",
    f"{_INA3221}/curr2_input": "136\n",
    f"{_INA3221}/in3_label": "VDD_SOC\n",
    f"{_INA3221}/in3_input": "5064\n",
    f"{_INA3221}/curr3_input": "280\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "47312\n",
    f"{_CPUFREQ}/scaling_governor": "schedutil\n",
    f"{_CPUFREQ}/scaling_cur_freq": "729600\n",
    "sys/devices/system/cpu/online": f"0-{CORES - 1}\n",
    "sys/devices/system/cpu/possible": f"0-{CORES - 1}\n",
    "sys/devices/system/cpu/present": f"0-{CORES - 1}\n",
}


def write_jetson_files(root: Path) -> None:
    """Write the board's files, and the links to the real ``/proc``, into a root file system."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / REAL_PROC).mkdir()
    for name in _LINKED:
        (root / "proc" / name).symlink_to(f"../{REAL_PROC}/{name}")
    for place in ("sys", "sys/kernel"):  # all but what is a file of ours
        up = "../" * (place.count("/") + 2)
        for real in (Path("/proc") / place).iterdir():
            mine = root / "proc" / place / real.name
            if not mine.exists():
                mine.symlink_to(f"{up}{REAL_PROC}/{place}/{real.name}")
