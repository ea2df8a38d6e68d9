"""The profile of a detected machine: by module on a Jetson, by the name of the graphics card, by CPU.

Source of the ranges of main memory by module: github.com/NVIDIA/skills 7149a88, detect_jetson.sh.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from devices.jetson import Jetson
from devices.linux import Cpu
from devices.nvidia import Gpu
from devices.profile import DeviceProfile

#: Part of a Jetson's memory that Linux reports at least; the firmware keeps the rest.
LEAST_VISIBLE = 0.75
#: Part of its memory that a whole graphics card reports at least; the driver keeps the rest, or ECC does.
LEAST_OF_CARD = 0.85


def match(
    profiles: Sequence[DeviceProfile],
    *,
    arch: str,
    board: str | None,
    cpu: Cpu,
    memory_mib: int | None,
    jetson: Jetson | None,
    gpus: Sequence[Gpu],
) -> DeviceProfile | None:
    """The profile of a machine; None if none describes it.

    Args:
        profiles: The profiles to choose from.
        arch: Machine architecture, e.g. ``"x86_64"``.
        board: Name of the board in the device tree.
        cpu: The processor.
        memory_mib: Main memory, MiB.
        jetson: The Jetson, if it is one.
        gpus: NVIDIA graphics cards; the first one with a profile counts.
    """
    if jetson:
        return _jetson([p for p in profiles if p.kind == "jetson"], jetson, memory_mib)
    for gpu in gpus:
        if found := _card(profiles, gpu, memory_mib):
            return found
    return None if gpus else _cpu([p for p in profiles if p.kind == "cpu"], arch, board or "", cpu)


def part_of_card(profile: DeviceProfile | None, gpus: Sequence[Gpu]) -> str | None:
    """Why the published figures of a card do not hold for what is visible of it; None if they do.

    A MIG instance or a virtual GPU has the name of its card and a part of its multiprocessors and memory.
    """
    if profile is None or profile.kind != "gpu":
        return None
    gpu = next(gpu for gpu in gpus if _is_card(profile, gpu))
    whole = profile.memory_mib
    if gpu.mig:
        return (
            "multi-instance GPU (MIG) is on: an instance has a part of the card's multiprocessors and memory"
        )
    if whole and gpu.memory_mib and gpu.memory_mib < LEAST_OF_CARD * whole:
        return f"{gpu.memory_mib} MiB of the card's {whole} are visible: it is a part of the card"
    return None


def _jetson(
    profiles: Iterable[DeviceProfile], jetson: Jetson, memory_mib: int | None
) -> DeviceProfile | None:
    """By part number and Super device tree; by name in a tree without part numbers.

    Memory decides between modules with the same name, or with the part number of their developer kit only.
    """
    fitting = [p for p in profiles if p.super_mode in {None, jetson.super_mode}]
    if jetson.modules:
        found = [p for p in fitting if set(p.modules) & set(jetson.modules)]
        if len(found) == 1:
            return found[0]
    else:
        found = [p for p in fitting if _is_board(p, jetson.model or "")]
    return next((p for p in found if _holds(p, memory_mib)), None)


def _card(profiles: Iterable[DeviceProfile], gpu: Gpu, memory_mib: int | None) -> DeviceProfile | None:
    """By name; of several with the same name, the one with the memory that is nearest to the reported one."""
    found = [p for p in profiles if _is_card(p, gpu)]
    if any(p.kind == "jetson" for p in found):  # Thor's memory is shared with the CPU
        return next((p for p in found if _holds(p, gpu.memory_mib or memory_mib)), None)
    reported = gpu.memory_mib or 0
    return min(found, key=lambda p: abs((p.memory_mib or 0) - reported), default=None)


def _cpu(profiles: Iterable[DeviceProfile], arch: str, board: str, cpu: Cpu) -> DeviceProfile | None:
    """By the name of a board, else the x86 class with the fastest instruction sets."""
    profiles = list(profiles)
    if boards := [p for p in profiles if _is_board(p, board)]:
        return boards[0]
    classes = [p for p in profiles if not p.boards and set(p.cpu_flags) <= set(cpu.flags)]
    return max(classes, key=_speed) if arch == "x86_64" and classes else None


def _speed(profile: DeviceProfile) -> tuple[float, float]:
    ops = profile.ops_per_clock
    return ops.get("int8_simd", 0), ops.get("fp32", 0)


def _is_card(profile: DeviceProfile, gpu: Gpu) -> bool:
    """Whether name and compute capability are those of a profile; an unknown capability does not count."""
    name = (gpu.name or "").removeprefix("NVIDIA ").partition(" MIG ")[0]
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
