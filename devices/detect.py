"""Detection of this machine from system files and ``nvidia-smi``; what cannot be read is None."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devices.jetson import Jetson, read_jetson
from devices.linux import (
    Cpu,
    Memory,
    in_container,
    read_cpu,
    read_load,
    read_memory,
    read_temperatures,
    read_text,
)
from devices.nvidia import Gpu, parse_cards, query_cards
from devices.profile import DeviceProfile, Kind, load_profiles

X86 = "generic-x86"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSnapshot:
    """Hardware, system software and load of a machine at one time.

    Attributes:
        key: The matching profile, see ``edgestill devices``; None if there is none.
        title: Name of the machine or its processors.
        kind: ``cpu``, ``jetson`` or ``gpu``.
        arch: Machine architecture, e.g. ``"x86_64"``.
        system: Operating system and kernel.
        cpu: The processor.
        memory: Main memory.
        gpus: NVIDIA graphics cards.
        jetson: Module, release and power mode of a Jetson; None for other machines.
        container: Whether this process runs in a container.
        load: Load average of the last minute.
        temperatures_c: Degrees Celsius by thermal zone.
    """

    key: str | None
    title: str
    kind: Kind
    arch: str
    system: str
    cpu: Cpu
    memory: Memory
    gpus: tuple[Gpu, ...]
    jetson: Jetson | None
    container: bool
    load: float | None
    temperatures_c: dict[str, float]


def detect(
    root: Path = Path("/"), *, arch: str | None = None, cards: Callable[[], str] = query_cards
) -> DeviceSnapshot:
    """Describe the machine whose system files are under ``root``.

    Args:
        root: ``/``, or a recorded file tree of another machine.
        arch: Architecture of the recorded machine; None for that of this one.
        cards: Returns the output of ``nvidia-smi``.
    """
    arch = arch or platform.machine()
    jetson = read_jetson(root)
    # On a Jetson nvidia-smi is a stub without information; the device tree is used.
    gpus = () if jetson else parse_cards(cards())
    cpu = read_cpu(root)
    profile = _match(load_profiles(), arch, jetson, gpus)
    return DeviceSnapshot(
        key=profile.key if profile else None,
        title=_title(cpu, jetson, gpus),
        kind="jetson" if jetson else "gpu" if gpus else "cpu",
        arch=arch,
        system=_system(root),
        cpu=cpu,
        memory=read_memory(root),
        gpus=gpus,
        jetson=jetson,
        container=in_container(root),
        load=read_load(root),
        temperatures_c=read_temperatures(root),
    )


def _match(
    profiles: tuple[DeviceProfile, ...], arch: str, jetson: Jetson | None, gpus: tuple[Gpu, ...]
) -> DeviceProfile | None:
    if jetson:
        return next((p for p in profiles if set(p.modules) & set(jetson.modules)), None)
    for gpu in gpus:
        name = gpu.name.removeprefix("NVIDIA ")
        for profile in profiles:
            if any(re.fullmatch(pattern, name) for pattern in profile.gpu_names):
                return profile
    return next((p for p in profiles if p.key == X86), None) if arch == "x86_64" and not gpus else None


def _title(cpu: Cpu, jetson: Jetson | None, gpus: tuple[Gpu, ...]) -> str:
    if jetson:
        return jetson.model or "Jetson"
    cores = f", {cpu.cores} cores" if cpu.cores else ""
    host = f"{cpu.model or 'unknown CPU'}{cores}"
    return " + ".join([*(gpu.name for gpu in gpus), host])


def _system(root: Path) -> str:
    words = dict(
        line.split("=", 1)
        for line in (read_text(root / "etc/os-release") or "").splitlines()
        if "=" in line and not line.startswith("#")
    )
    name = words.get("PRETTY_NAME", "unknown system").strip('"')
    kernel = read_text(root / "proc/sys/kernel/osrelease")
    return f"{name}, kernel {kernel}" if kernel else name
