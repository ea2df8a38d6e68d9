"""Identification of a Jetson: device tree, L4T release, power mode, GPU clock. Plain files, without root.

Source: github.com/rbonghi/jetson_stats (file names and strings), NVIDIA Jetson Linux developer guides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from devices.linux import read_text, to_int

_RELEASE = re.compile(r"# R([0-9]+) \(release\), REVISION: ([0-9.]+)")
_MODULE = re.compile(r"p[0-9]{4}-[0-9]{4}")
_MODE_NAME = re.compile(r"<\s*POWER_MODEL\s+ID=([0-9]{1,6})\s+NAME=(\S+)\s*>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Jetson:
    """A Jetson module as described by its system; None for what is not available.

    Attributes:
        model: Name of the board; it differs between releases, so it is for display only.
        modules: Part numbers in the device tree, module and carrier, e.g. ``("p3768-0000", "p3767-0005")``.
        super_mode: Whether the device tree is the one with the Super power modes.
        l4t: Jetson Linux release, e.g. ``"36.4.3"``.
        power_mode: Name of the ``nvpmodel`` mode, or its number if the name is not known.
        clocks_locked: Whether the GPU clock is fixed (``jetson_clocks``).
        gpu_mhz: Current GPU clock.
    """

    model: str | None
    modules: tuple[str, ...]
    super_mode: bool
    l4t: str | None
    power_mode: str | None
    clocks_locked: bool | None
    gpu_mhz: float | None


def read_jetson(root: Path) -> Jetson | None:
    """The Jetson whose system files are under ``root``; None if it is another machine.

    A container shows neither the device tree, as ``/sys/firmware`` is hidden there, nor, unless it is
    mounted, the release; it has the kernel of the host.
    """
    compatible = (read_text(root / "proc/device-tree/compatible") or "").split()
    release = _RELEASE.search(read_text(root / "etc/nv_tegra_release") or "")
    has_tegra = any(name.startswith("nvidia,tegra") for name in compatible)
    if release is None and not has_tegra and not _has_tegra_kernel(root):
        return None
    modules = dict.fromkeys(part for name in compatible for part in _MODULE.findall(name))
    gpu = gpu_devfreq(root)
    lowest, highest, current = (
        to_int(read_text(gpu / f"{name}_freq")) if gpu else None for name in ("min", "max", "cur")
    )
    return Jetson(
        model=read_text(root / "proc/device-tree/model"),
        modules=tuple(modules),
        super_mode=any(name.endswith("-super") for name in compatible),
        l4t=f"{release[1]}.{release[2]}" if release else None,
        power_mode=_power_mode(root),
        clocks_locked=lowest == highest if lowest and highest else None,
        gpu_mhz=current / 1e6 if current else None,
    )


def _has_tegra_kernel(root: Path) -> bool:
    """Whether the kernel is Jetson Linux's: 4.9, 5.10, 5.15 or 6.8 with this ending (JetPack 4 to 7)."""
    return (read_text(root / "proc/sys/kernel/osrelease") or "").endswith("-tegra")


def gpu_devfreq(root: Path) -> Path | None:
    """The devfreq folder of the GPU: ``57000000.gpu`` on a Nano, ``17000000.gv11b`` or ``.gpu`` later."""
    folder = root / "sys/class/devfreq"
    names = ("*.gpu", "*.gp10b", "*.gv11b", "*.ga10b", "gpu-gpc-0")
    return next((path for name in names for path in sorted(folder.glob(name))), None)


def _power_mode(root: Path) -> str | None:
    status = re.search(r"pmode:([0-9]{1,6})\b", read_text(root / "var/lib/nvpmodel/status") or "")
    if status is None:
        return None
    number = int(status[1])
    modes = _MODE_NAME.finditer(read_text(root / "etc/nvpmodel.conf") or "")
    return next((str(mode[2]) for mode in modes if int(mode[1]) == number), str(number))
