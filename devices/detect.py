"""Detection of this machine from system files and ``nvidia-smi``; what cannot be read is None.

Source of the ranges of main memory by module: github.com/NVIDIA/skills 7149a88, detect_jetson.sh.
"""

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
from devices.nvidia import Gpu, parse_cards, query_cards, why_no_card
from devices.profile import DeviceProfile, Kind, load_profiles

X86 = "generic-x86"
#: Part of a Jetson's memory that Linux reports at least; the firmware keeps the rest.
LEAST_VISIBLE = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSnapshot:
    """Hardware, system software and load of a machine at one time.

    Attributes:
        key: The matching profile, see ``edgestill devices``; None if there is none.
        no_profile: Why there is no key; None if there is one.
        title: Name of the machine or its processors.
        kind: ``cpu``, ``jetson`` or ``gpu``.
        arch: Machine architecture, e.g. ``"x86_64"``.
        system: Operating system and kernel.
        cpu: The processor.
        memory: Main memory.
        gpus: NVIDIA graphics cards.
        no_gpu: What ``nvidia-smi`` says instead of cards; None if it names some or is missing.
        jetson: Module, release and power mode of a Jetson; None for other machines.
        container: Whether this process runs in a container.
        load: Load average of the last minute.
        temperatures_c: Degrees Celsius by thermal zone.
    """

    key: str | None
    no_profile: str | None
    title: str
    kind: Kind
    arch: str
    system: str
    cpu: Cpu
    memory: Memory
    gpus: tuple[Gpu, ...]
    no_gpu: str | None
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
    text = "" if jetson else cards()
    gpus = parse_cards(text)
    cpu, memory = read_cpu(root), read_memory(root)
    profile = _match(load_profiles(), arch, jetson, gpus, memory.total_mib)
    return DeviceSnapshot(
        key=profile.key if profile else None,
        no_profile=None if profile else _no_profile(arch, jetson, gpus),
        title=_title(cpu, jetson, gpus),
        kind="jetson" if jetson else "gpu" if gpus else "cpu",
        arch=arch,
        system=_system(root),
        cpu=cpu,
        memory=memory,
        gpus=gpus,
        no_gpu=why_no_card(text),
        jetson=jetson,
        container=in_container(root),
        load=read_load(root),
        temperatures_c=read_temperatures(root),
    )


def _match(
    profiles: tuple[DeviceProfile, ...],
    arch: str,
    jetson: Jetson | None,
    gpus: tuple[Gpu, ...],
    memory_mib: int | None,
) -> DeviceProfile | None:
    if jetson:
        by_module = (p for p in profiles if set(p.modules) & set(jetson.modules))
        by_name = (p for p in profiles if _is_board(p, jetson.model or "") and _holds(p, memory_mib))
        return next(by_module, None) or (next(by_name, None) if not jetson.modules else None)
    for gpu in gpus:
        found = [p for p in profiles if _is_card(p, gpu)]
        # The two Thor modules have the same GPU name: their memory, shared with the CPU, tells them apart.
        found = found if len(found) < 2 else [p for p in found if _holds(p, gpu.memory_mib or memory_mib)]
        if found:
            return found[0]
    return next((p for p in profiles if p.key == X86), None) if arch == "x86_64" and not gpus else None


def _is_card(profile: DeviceProfile, gpu: Gpu) -> bool:
    """Whether name and compute capability are those of a profile; an unknown capability does not count."""
    name = (gpu.name or "").removeprefix("NVIDIA ")
    named = any(re.fullmatch(pattern, name) for pattern in profile.gpu_names)
    return named and gpu.compute_capability in {None, profile.compute_capability, *profile.capability_aliases}


def _is_board(profile: DeviceProfile, model: str) -> bool:
    return any(re.search(pattern, model) for pattern in profile.boards)


def _holds(profile: DeviceProfile, memory_mib: int | None) -> bool:
    """Whether the memory that Linux reports can be that of a profile."""
    return bool(
        memory_mib
        and profile.memory_mib
        and LEAST_VISIBLE * profile.memory_mib <= memory_mib <= profile.memory_mib
    )


def _no_profile(arch: str, jetson: Jetson | None, gpus: tuple[Gpu, ...]) -> str:
    """A sentence about a machine that no profile describes."""
    what = f"the architecture {arch}"
    if gpus:
        what = " and ".join(
            f"{g.name or 'a GPU without a name'} (compute capability {g.compute_capability or 'unknown'})"
            for g in gpus
        )
    if jetson:
        modules = f" ({', '.join(jetson.modules)})" if jetson.modules else ""
        what = f"{jetson.model or 'this Jetson'}{modules}"
    return f"no profile describes {what}"


def _title(cpu: Cpu, jetson: Jetson | None, gpus: tuple[Gpu, ...]) -> str:
    if jetson:
        return jetson.model or "Jetson"
    cores = f", {cpu.cores} cores" if cpu.cores else ""
    host = f"{cpu.model or 'unknown CPU'}{cores}"
    return " + ".join([*(gpu.name or "unknown NVIDIA GPU" for gpu in gpus), host])


def _system(root: Path) -> str:
    words = dict(
        line.split("=", 1)
        for line in (read_text(root / "etc/os-release") or "").splitlines()
        if "=" in line and not line.startswith("#")
    )
    name = words.get("PRETTY_NAME", "unknown system").strip('"')
    kernel = read_text(root / "proc/sys/kernel/osrelease")
    return f"{name}, kernel {kernel}" if kernel else name
