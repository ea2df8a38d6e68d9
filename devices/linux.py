"""CPU, memory, load and cgroup limits, from the files of Linux.

Every reader takes the root of the file tree, so that recorded trees of other machines can be read. What is
missing is None: in containers and virtual machines many of these files are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Names of ARM cores by "CPU part" of /proc/cpuinfo.
#: Source: Linux, arch/arm64/include/asm/cputype.h
_ARM_CORES = {
    "0xd03": "ARM Cortex-A53",
    "0xd07": "ARM Cortex-A57",
    "0xd08": "ARM Cortex-A72",
    "0xd0b": "ARM Cortex-A76",
    "0xd42": "ARM Cortex-A78AE",
    "0x004": "NVIDIA Carmel",  # codespell:ignore carmel
}
#: Instruction sets that determine the speed of FP32, BF16 and INT8 inference.
_FLAGS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)
#: ASCII digits only, and not more than 64 bits have: other text is no reading.
_INTEGER = re.compile(r"-?[0-9]{1,19}(?!\S)")
_DECIMAL = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]+)?(?!\S)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """The processor as visible to this process; None for what is not available.

    Attributes:
        model: Name of the processor.
        cores: Logical cores that are online.
        allowed_cores: Cores that this process may run on (affinity).
        quota_cores: CPU quota of the cgroup, in cores; None without a limit.
        flags: Instruction sets that matter for inference.
        governor: Frequency governor of the first core.
        mhz: Current clock of the first core.
        hypervisor: Whether the CPU has the ``hypervisor`` flag, as in a virtual machine.
    """

    model: str | None
    cores: int | None
    allowed_cores: int | None
    quota_cores: float | None
    flags: tuple[str, ...]
    governor: str | None
    mhz: float | None
    hypervisor: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Main memory, MiB; None for what is not available.

    Attributes:
        total_mib: Memory of the machine.
        available_mib: Memory that programs can use now.
        limit_mib: Limit of the cgroup; None without one.
    """

    total_mib: int | None
    available_mib: int | None
    limit_mib: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTimes:
    """CPU time since boot, summed over cores, in kernel ticks.

    Attributes:
        total: Total time.
        idle: Idle time, including waiting for I/O.
        steal: Time that the hypervisor gave to other virtual machines.
    """

    total: int
    idle: int
    steal: int


def read_text(path: Path) -> str | None:
    """The text of a file without NULs and surrounding white space; None if it is empty or cannot be read."""
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
    return text.replace("\0", " ").strip() or None


def to_int(text: str | None) -> int | None:
    """The whole number at the start of a text, also with a unit behind it; None if there is none."""
    found = _INTEGER.match(text or "")
    return int(found[0]) if found else None


def to_float(text: str | None) -> float | None:
    """The decimal number at the start of a text, also with a unit behind it; None if there is none."""
    found = _DECIMAL.match(text or "")
    return float(found[0]) if found else None


def usable_cores() -> int:
    """Cores that this process can keep busy: those of its affinity, within the CPU quota of its cgroup."""
    cpu = read_cpu(Path("/"))
    cores = cpu.allowed_cores or cpu.cores or os.cpu_count() or 1
    return max(1, min(cores, int(cpu.quota_cores or cores)))


def read_cpu(root: Path) -> Cpu:
    """Read the processor's properties from the files under ``root``."""
    fields = _fields(read_text(root / "proc/cpuinfo"))
    cores = len(fields.get("processor", ())) or None
    flags = set((fields.get("flags") or fields.get("Features") or [""])[0].split())
    part = fields.get("CPU part", [""])[0]
    khz = to_int(read_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"))
    status = _fields(read_text(root / "proc/self/status"))
    return Cpu(
        model=_ARM_CORES.get(part) or next(iter(fields.get("model name", [])), None),
        cores=cores,
        allowed_cores=_count_cores(status.get("Cpus_allowed_list", [""])[0]),
        quota_cores=_quota_cores(root),
        flags=tuple(flag for flag in _FLAGS if flag in flags),
        governor=read_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        mhz=khz / 1000 if khz else to_float(fields.get("cpu MHz", [""])[0]),
        hypervisor="hypervisor" in flags,
    )


def read_memory(root: Path) -> Memory:
    """Read the size of main memory and its cgroup limit from the files under ``root``."""
    fields = _fields(read_text(root / "proc/meminfo"))
    total = _kib_to_mib(fields.get("MemTotal"))
    limits = [
        limit // 2**20
        for name in ("memory.max", "memory.limit_in_bytes")
        for text in _cgroup_values(root, "memory", name)
        if (limit := to_int(text)) is not None and limit >= 0
    ]
    limit = min(limits, default=None)
    return Memory(
        total_mib=total,
        available_mib=_kib_to_mib(fields.get("MemAvailable")),
        # In cgroups v1 "no limit" is a number larger than any memory.
        limit_mib=limit if limit is not None and total is not None and limit < total else None,
    )


def read_cpu_times(root: Path = Path("/")) -> CpuTimes | None:
    """CPU time since boot, to be read before and after a measurement."""
    text = read_text(root / "proc/stat")
    if text is None or not text.startswith("cpu "):
        return None
    ticks = [to_int(word) or 0 for word in text.splitlines()[0].split()[1:9]]
    user, nice, system, idle, iowait, irq, softirq, steal = [*ticks, *[0] * (8 - len(ticks))]
    total = user + nice + system + idle + iowait + irq + softirq + steal
    return CpuTimes(total=total, idle=idle + iowait, steal=steal)


def read_load(root: Path = Path("/")) -> float | None:
    """Load average of the last minute."""
    return to_float(read_text(root / "proc/loadavg"))


def read_temperatures(root: Path = Path("/")) -> dict[str, float]:
    """Degrees Celsius by thermal zone; empty if there are none."""
    found = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        name, milli = read_text(zone / "type"), to_int(read_text(zone / "temp"))
        # PMIC-Die is a constant 100; -256 means that the unit is switched off.
        if name and name != "PMIC-Die" and milli is not None and milli > -256_000:
            found[name] = milli / 1000
    return found


def in_container(root: Path) -> bool:
    """Whether the marker file of Docker or Podman exists."""
    # Path.exists raises where a folder may not be searched.
    return any(os.path.exists(root / name) for name in (".dockerenv", "run/.containerenv"))  # noqa: PTH110


def _fields(text: str | None) -> dict[str, list[str]]:
    """All values of each key in ``key : value`` lines."""
    found: dict[str, list[str]] = {}
    for line in (text or "").splitlines():
        key, separator, value = line.partition(":")
        if separator:
            found.setdefault(key.strip(), []).append(value.strip())
    return found


def _kib_to_mib(values: list[str] | None) -> int | None:
    kib = to_int(values[0]) if values else None
    return kib // 1024 if kib is not None else None


def _count_cores(ranges: str) -> int | None:
    """``"0-3,8"`` -> 5."""
    spans = re.findall(r"\b([0-9]{1,6})(?:-([0-9]{1,6}))?\b", ranges)
    return sum(int(last or first) - int(first) + 1 for first, last in spans) or None


def _quota_cores(root: Path) -> float | None:
    quotas = []
    for text in _cgroup_values(root, "cpu", "cpu.max"):
        quota, _, period = text.partition(" ")
        quotas.append((to_int(quota), to_int(period or "100000")))
    periods = _cgroup_values(root, "cpu", "cpu.cfs_period_us")
    for quota, period in zip(_cgroup_values(root, "cpu", "cpu.cfs_quota_us"), periods, strict=False):
        quotas.append((to_int(quota), to_int(period)))  # -1: none
    return min((q / p for q, p in quotas if q and p and q > 0 and p > 0), default=None)


def _cgroup_values(root: Path, controller: str, name: str) -> Iterator[str]:
    """The contents of a control file in this process's cgroup and in all of its parents."""
    base = root / "sys/fs/cgroup"
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, named = line.partition(":")
        controllers, _, path = named.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mount = base / controller if controllers else base
        below = Path(path.strip("/"))
        for folder in (mount / below, *(mount / parent for parent in below.parents)):
            if text := read_text(folder / name):
                yield text
