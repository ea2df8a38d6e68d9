"""Detection of this machine from system files and ``nvidia-smi``; what cannot be read is None."""

from __future__ import annotations

import platform
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
from devices.matching import match, part_of_card
from devices.nvidia import Gpu, parse_cards, query_cards, why_no_card
from devices.profile import Kind, load_profiles


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSnapshot:
    """Hardware, system software and load of a machine at one time.

    Attributes:
        key: The matching profile, see ``edgestill devices``; None if there is none.
        no_profile: Why there is no key; None if there is one.
        part_of_card: Why the published figures of the card do not hold: only a part of it is visible. None if
            they hold.
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
    part_of_card: str | None
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
    # On a Jetson nvidia-smi is a stub without information; the device tree is used. A container hides that,
    # and there nvidia-smi names at least Thor.
    has_tree = jetson is not None and bool(jetson.modules or jetson.model)
    text = "" if has_tree else cards()
    gpus = parse_cards(text)
    cpu, memory = read_cpu(root), read_memory(root)
    board = read_text(root / "proc/device-tree/model")
    profile = match(
        load_profiles(),
        arch=arch,
        board=board,
        cpu=cpu,
        memory_mib=memory.total_mib,
        jetson=jetson if has_tree else None,
        gpus=gpus,
    )
    return DeviceSnapshot(
        key=profile.key if profile else None,
        no_profile=None if profile else _no_profile(board or f"the architecture {arch}", jetson, gpus),
        part_of_card=part_of_card(profile, gpus),
        title=_title(board, cpu, jetson, gpus),
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


def _no_profile(machine: str, jetson: Jetson | None, gpus: tuple[Gpu, ...]) -> str:
    """A sentence about a machine that no profile describes."""
    what = machine
    if gpus:
        what = " and ".join(
            f"{g.name or 'a GPU without a name'} (compute capability {g.compute_capability or 'unknown'})"
            for g in gpus
        )
    if jetson:
        modules = f" ({', '.join(jetson.modules)})" if jetson.modules else ""
        what = f"{jetson.model or 'this Jetson, whose device tree is not visible'}{modules}"
    return f"no profile describes {what}"


def _title(board: str | None, cpu: Cpu, jetson: Jetson | None, gpus: tuple[Gpu, ...]) -> str:
    if jetson:
        return board or "Jetson"
    cores = f", {cpu.cores} cores" if cpu.cores else ""
    host = f"{board or cpu.model or 'unknown CPU'}{cores}"
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
