"""Recorded file trees of machines, and what is right about each.

Written from public records: strings of the device tree, L4T releases, memory as Linux reports it, files of
``nvpmodel``, ``/proc/cpuinfo`` and answers of ``nvidia-smi``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

X86_FLAGS = {
    "avx2": "fpu sse4_2 avx avx2 fma bmi2",
    "avx512": "fpu sse4_2 avx avx2 fma avx512f avx512bw hypervisor",
    "avx_vnni": "fpu sse4_2 avx avx2 fma avx_vnni",
    "vnni": "fpu sse4_2 avx avx2 fma avx512f avx512_vnni",
    "amx": "fpu avx avx2 fma avx512f avx512_vnni avx512_bf16 avx_vnni amx_tile amx_int8 amx_bf16",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine.

    Attributes:
        name: For the name of a test.
        key: The profile that describes it; None if none does.
        files: Texts by path.
        arch: Its architecture.
        cards: What its ``nvidia-smi`` prints.
        jetson: Attributes of its ``Jetson``; None if it is none.
        part: Whether only a part of its card is visible.
        advice: A part of what ``doctor`` says about it.
    """

    name: str
    key: str | None
    files: Mapping[str, str]
    arch: str = "aarch64"
    cards: str = ""
    jetson: Mapping[str, Any] | None = None
    part: bool = False
    advice: str = ""
    kind: str = field(default="")

    def write(self, root: Path) -> Path:
        """Write the tree below ``root`` and return it."""
        for name, text in self.files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root


def _l4t(release: str, board: str = "generic") -> str:
    major, _, revision = release.partition(".")
    return (
        f"# R{major} (release), REVISION: {revision}, GCID: 38968081, BOARD: {board}, EABI: aarch64, "
        "DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
    )


def _jetson(
    name: str,
    key: str | None,
    *,
    compatible: str,
    model: str,
    l4t: str,
    mib: int,
    part: str = "0xd42",
    modes: str = "",
    mode: int | None = None,
    gpu: str = "17000000.gpu",
    advice: str = "",
    **jetson: Any,
) -> Machine:
    """A Jetson; ``compatible`` is separated by spaces, ``modes`` are names in the order of their ids."""
    files = {
        "proc/device-tree/compatible": compatible.replace(" ", "\0") + "\0",
        "proc/device-tree/model": model + "\0",
        "etc/nv_tegra_release": _l4t(l4t),
        "proc/meminfo": f"MemTotal:       {mib * 1024} kB\nMemAvailable:   {mib * 512} kB\n",
        "proc/cpuinfo": f"processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp\nCPU part\t: {part}\n",
        f"sys/class/devfreq/{gpu}/min_freq": "306000000\n",
        f"sys/class/devfreq/{gpu}/max_freq": "918000000\n",
        f"sys/class/devfreq/{gpu}/cur_freq": "306000000\n",
    }
    if modes:
        files["etc/nvpmodel.conf"] = "".join(
            f"< POWER_MODEL ID={number} NAME={word} >\nGPU MAX_FREQ -1\n"
            for number, word in enumerate(modes.split())
        )
    if mode is not None:
        files["var/lib/nvpmodel/status"] = f"pmode:{mode:04d} fmode:fan_mode_quiet\n"
    expected = {"l4t": l4t, "clocks_locked": False, "gpu_mhz": 306.0, "super_mode": False} | jetson
    return Machine(name=name, key=key, files=files, jetson=expected, kind="jetson", advice=advice)


def _pc(name: str, key: str, flags: str, *, cards: str = "", cores: int = 4, **more: Any) -> Machine:
    files = {
        "proc/cpuinfo": "".join(
            f"processor\t: {i}\nmodel name\t: A CPU\nflags\t\t: {X86_FLAGS[flags]}\n\n" for i in range(cores)
        ),
        "proc/meminfo": "MemTotal:       65812340 kB\nMemAvailable:   60000000 kB\n",
    }
    kind = "gpu" if cards else "cpu"
    return Machine(name=name, key=key, files=files, arch="x86_64", cards=cards, kind=kind, **more)


def _card(name: str, capability: str, mib: int, mig: str = "[N/A]") -> str:
    return f"{name}, {capability}, {mib}, 550.54.15, 250.00, 1380, {mig}\n"


def _pi(name: str, key: str, model: str, part: str, features: str) -> Machine:
    cpuinfo = f"processor\t: 0\nFeatures\t: fp asimd {features}\nCPU part\t: {part}\n\n"
    files = {
        "proc/device-tree/model": model + "\0",
        "proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
        "proc/cpuinfo": cpuinfo * 4,
        "proc/meminfo": "MemTotal:        8245392 kB\n",
    }
    return Machine(name=name, key=key, files=files, kind="cpu")


XAVIER_NX_MODES = (
    "MODE_15W_2CORE MODE_15W_4CORE MODE_15W_6CORE MODE_10W_2CORE MODE_10W_4CORE MODE_10W_DESKTOP "
    "MODE_20W_2CORE MODE_20W_4CORE MODE_20W_6CORE"
)

MACHINES: tuple[Machine, ...] = (
    _jetson(
        "nano-jetpack-4", "jetson-nano",
        compatible="nvidia,jetson-nano nvidia,p3449-0000-b00+p3448-0000-b00 nvidia,tegra210",
        model="NVIDIA Jetson Nano Developer Kit", l4t="32.7.6", mib=3964, part="0xd07", gpu="57000000.gpu",
        modes="MAXN 5W", mode=0, power_mode="MAXN", advice="does not support INT8",
    ),
    _jetson(
        "tx2-jetpack-4", "jetson-tx2",
        compatible="nvidia,quill nvidia,p2597-0000+p3310-1000 nvidia,tegra186", model="quill", l4t="32.7.6",
        mib=7854, part="0xd07", gpu="17000000.gp10b", modes="MAXN MAXQ MAXP_CORE_ALL MAXP_CORE_ARM", mode=3,
        power_mode="MAXP_CORE_ARM",
    ),
    _jetson(
        "tx2-without-part-numbers", "jetson-tx2", compatible="nvidia,quill nvidia,tegra186", model="quill",
        l4t="32.7.1", mib=7854, part="0xd07", gpu="17000000.gp10b", power_mode=None,
    ),
    _jetson(
        "xavier-nx-jetpack-5", "jetson-xavier-nx",
        compatible="nvidia,p3509-0000+p3668-0000 nvidia,tegra194",
        model="NVIDIA Jetson Xavier NX Developer Kit", l4t="35.4.1", mib=6846, part="0x004",
        gpu="17000000.gv11b", modes=XAVIER_NX_MODES, mode=2, power_mode="MODE_15W_6CORE",
    ),
    _jetson(
        "xavier-nx-16gb", "jetson-xavier-nx-16gb",
        compatible="nvidia,p3509-0000+p3668-0001 nvidia,p3668-0003 nvidia,tegra194",
        model="NVIDIA Jetson Xavier NX Developer Kit", l4t="35.6.4", mib=15000, part="0x004",
        gpu="17000000.gv11b", power_mode=None,
    ),
    _jetson(
        "agx-xavier-jetpack-4", "jetson-agx-xavier-16gb", compatible="nvidia,p2972-0000 nvidia,tegra194",
        model="Jetson-AGX", l4t="32.7.1", mib=15823, part="0x004", gpu="17000000.gv11b",
        modes="MAXN MODE_10W MODE_15W", mode=2, power_mode="MODE_15W",
    ),
    _jetson(
        "agx-xavier-32gb-jetpack-5", "jetson-agx-xavier",
        compatible="nvidia,p2972-0000+p2888-0004 nvidia,p2888-0004 nvidia,tegra194",
        model="NVIDIA Jetson AGX Xavier Developer Kit", l4t="35.6.4", mib=30991, part="0x004",
        gpu="17000000.gv11b", power_mode=None,
    ),
    _jetson(
        "orin-nano-jetpack-5", "jetson-orin-nano",
        compatible="nvidia,p3768-0000+p3767-0005 nvidia,p3767-0005 nvidia,tegra234",
        model="NVIDIA Orin Nano Developer Kit", l4t="35.3.1", mib=6480, gpu="17000000.ga10b",
        modes="15W 7W", mode=0, power_mode="15W",
    ),
    _jetson(
        "orin-nano-super-jetpack-6", "jetson-orin-nano-super",
        compatible="nvidia,p3768-0000+p3767-0005-super nvidia,p3767-0005 nvidia,tegra234",
        model="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", l4t="36.4.3", mib=7620,
        modes="15W 25W MAXN_SUPER 7W", mode=2, power_mode="MAXN_SUPER", super_mode=True,
    ),
    _jetson(
        "orin-nano-super-without-part-numbers", "jetson-orin-nano-super",
        compatible="vendor,board-super nvidia,tegra234",
        model="Vendor Board, Orin Nano Super", l4t="36.5.0", mib=7620, power_mode=None, super_mode=True,
    ),
    _jetson(
        "orin-nano-4gb", "jetson-orin-nano-4gb",
        compatible="nvidia,p3768-0000+p3767-0004 nvidia,p3767-0004 nvidia,tegra234",
        model="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit", l4t="36.5.0", mib=3420,
        power_mode=None,
    ),
    _jetson(
        "orin-nx-16gb-jetpack-6", "jetson-orin-nx",
        compatible="nvidia,p3768-0000+p3767-0000 nvidia,p3767-0000 nvidia,tegra234",
        model="NVIDIA Jetson Orin NX Engineering Reference Developer Kit", l4t="36.5.0", mib=15656,
        modes="MAXN 10W 15W 25W", mode=3, power_mode="25W", advice="limits the GPU to 408 of 918 MHz",
    ),
    _jetson(
        "orin-nx-8gb-jetpack-5", "jetson-orin-nx-8gb",
        compatible="nvidia,p3768-0000+p3767-0001 nvidia,p3767-0001 nvidia,tegra234",
        model="NVIDIA Orin NX Developer Kit", l4t="35.4.1", mib=6800, gpu="17000000.ga10b", power_mode=None,
    ),
    _jetson(
        "agx-orin-32gb-jetpack-5", "jetson-agx-orin-32gb",
        compatible="nvidia,p3737-0000+p3701-0004 nvidia,p3701-0004 nvidia,tegra234", model="Jetson AGX Orin",
        l4t="35.3.1", mib=30536, gpu="17000000.ga10b", power_mode=None,
    ),
    _jetson(
        "agx-orin-developer-kit-of-2022", "jetson-agx-orin-devkit",
        compatible="nvidia,p3737-0000+p3701-0000 nvidia,p3701-0000 nvidia,tegra234",
        model="NVIDIA Jetson AGX Orin Developer Kit", l4t="36.4.3", mib=30697, power_mode=None,
    ),
    _jetson(
        "agx-orin-64gb-jetpack-7", "jetson-agx-orin",
        compatible="nvidia,p3737-0000+p3701-0005 nvidia,p3701-0005 nvidia,tegra234",
        model="NVIDIA Jetson AGX Orin Developer Kit", l4t="39.2.0", mib=62817,
        modes="MAXN MODE_15W MODE_30W MODE_50W", mode=2, power_mode="MODE_30W",
        advice="power mode 30W limits the GPU to 624.75 of 1300 MHz",
    ),
    _jetson(
        "agx-thor", "jetson-thor-t5000",
        compatible="nvidia,p4071-0000+p3834-0008 nvidia,p3834-0008 nvidia,tegra264",
        model="NVIDIA Jetson AGX Thor Developer Kit", l4t="38.4.0", mib=125772, gpu="gpu-gpc-0",
        modes="MAXN 120W 90W 70W", mode=1, power_mode="120W",
    ),
    _jetson(
        "thor-t4000", "jetson-thor-t4000",
        compatible="vendor,board nvidia,p3834-0000 nvidia,tegra264", model="Vendor Board", l4t="39.2.0",
        mib=61800, gpu="gpu-gpc-0", power_mode=None,
    ),
    _jetson(
        "unknown-jetson-module", None, compatible="nvidia,p9999-0000 nvidia,tegra234", model="AGX Orin board",
        l4t="36.5.0", mib=30536, power_mode=None,
        advice="no profile describes AGX Orin board (p9999-0000)",
    ),
    Machine(
        name="orin-container-without-device-tree", key=None, kind="jetson",
        files={"etc/nv_tegra_release": _l4t("36.4.3"), ".dockerenv": "", "proc/meminfo": "MemTotal: 7802916"},
        cards="Orin (nvgpu), [N/A], [N/A], 540.4.0, [N/A], [N/A], [N/A]\n",
        jetson={"l4t": "36.4.3", "model": None, "modules": ()}, advice="whose device tree is not visible",
    ),
    Machine(
        name="thor-container-with-release", key="jetson-thor-t5000", kind="jetson",
        files={"etc/nv_tegra_release": _l4t("38.4.0"), "proc/meminfo": f"MemTotal: {125772 * 1024} kB\n"},
        cards="NVIDIA Thor, 11.0, [N/A], 580.00, [N/A], 1575, [N/A]\n",
        jetson={"l4t": "38.4.0", "modules": ()},
    ),
    Machine(
        name="thor-container-without-device-tree", key="jetson-thor-t5000", kind="gpu",
        files={".dockerenv": "", "proc/meminfo": f"MemTotal: {125772 * 1024} kB\n"},
        cards="NVIDIA Thor, 11.0, [N/A], 580.00, [N/A], 1575, [N/A]\n",
    ),
    _pc(
        "v100-sxm2", "v100", "avx512", cards=_card("Tesla V100-SXM2-16GB", "7.0", 16160),
        advice="INT8 is not faster than FP16",
    ),
    _pc("v100-pcie", "v100-pcie", "avx2", cards=_card("Tesla V100-PCIE-32GB", "7.0", 32510)),
    _pc("v100s", "v100s-pcie", "vnni", cards=_card("Tesla V100S-PCIE-32GB", "7.0", 32510)),
    _pc(
        "v100-vgpu", "v100", "avx2", part=True,
        cards=_card("GRID V100X-8Q", "7.0", 8192), advice="a part of the card",
    ),
    _pc("t4", "t4", "avx512", cards=_card("Tesla T4", "7.5", 15360)),
    _pc("l4", "l4", "amx", cards=_card("NVIDIA L4", "8.9", 23034)),
    _pc("a100-80gb", "a100-80gb", "vnni", cards=_card("NVIDIA A100-SXM4-80GB", "8.0", 81920, mig="Disabled")),
    _pc(
        "a100-mig", "a100-40gb", "vnni", part=True,
        cards=_card("NVIDIA A100-SXM4-40GB", "8.0", 40960, mig="Enabled"), advice="multi-instance GPU",
    ),
    _pc("h200", "h200", "amx", cards=_card("NVIDIA H200", "9.0", 143771, mig="Disabled")),
    _pc("rtx-3080-10gb", "rtx-3080", "avx2", cards=_card("NVIDIA GeForce RTX 3080", "8.6", 10240)),
    _pc("rtx-3080-12gb", "rtx-3080-12gb", "avx2", cards=_card("NVIDIA GeForce RTX 3080", "8.6", 12288)),
    _pc(
        "rtx-2080-ti-old-driver", "rtx-2080-ti", "avx2",
        cards=_card("GeForce RTX 2080 Ti", "[Not Supported]", 11019, mig="[Not Supported]"),
    ),
    _pc("x86-avx2", "x86-avx2", "avx2"),
    _pc("x86-avx512-without-vnni", "x86-avx2", "avx512"),
    _pc("x86-avx-vnni", "x86-avx-vnni", "avx_vnni"),
    _pc("x86-avx512-vnni", "x86-avx512-vnni", "vnni"),
    _pc("x86-amx", "x86-amx", "amx"),
    _pi("raspberry-pi-5", "raspberry-pi-5", "Raspberry Pi 5 Model B Rev 1.0", "0xd0b", "asimdhp asimddp"),
    _pi("raspberry-pi-4", "raspberry-pi-4", "Raspberry Pi 4 Model B Rev 1.4", "0xd08", ""),
)  # fmt: skip
