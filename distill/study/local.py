"""Cells of a study on this machine: several processes at once, as many as memory and cores allow.

Every process decodes its own images: what ``cache_mib`` keeps is not shared between cells, what
``disk_cache_mib`` keeps is. All processes use
the first GPU where there is one; for several GPUs there is the Ray engine.
"""

from __future__ import annotations

import os
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import torch

from devices.linux import read_cpu, read_memory
from distill.study.process import BASE_MIB, HINT, SCORE, Done, Work, failure, launch
from edgestill.files import read_json
from edgestill.progress import say

SPARE = 0.9  # share of the free memory that is used
GROWTH = 1.1  # another cell may need a little more than the greediest so far
CONTEXT_MIB = 600  # of GPU memory that a process takes before its first tensor
POLL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What this machine has to give.

    Attributes:
        cores: That this process may use.
        memory_mib: Free main memory.
        gpu_mib: Free memory of the first GPU; 0 without one.
    """

    cores: int
    memory_mib: int
    gpu_mib: int = 0


def look_around() -> Room:
    """The room on this machine now, before any cell runs."""
    root = Path("/")
    cpu, memory = read_cpu(root), read_memory(root)
    cores = cpu.allowed_cores or cpu.cores or os.cpu_count() or 1
    free = [mib for mib in (memory.available_mib, memory.limit_mib) if mib is not None]
    gpu = torch.cuda.mem_get_info()[0] // 2**20 if torch.cuda.is_available() else 0
    return Room(
        cores=max(1, int(min(cores, cpu.quota_cores or cores))),
        memory_mib=min(free, default=BASE_MIB),
        gpu_mib=gpu,
    )


def at_once(room: Room, need_mib: float, gpu_need_mib: float | None) -> int:
    """How many cells run side by side.

    Args:
        room: What there is.
        need_mib: Main memory of a cell.
        gpu_need_mib: GPU memory of a cell; None until one has told.
    """
    fits = int(SPARE * room.memory_mib / need_mib)
    if room.gpu_mib:
        fits = 1 if gpu_need_mib is None else min(fits, int(SPARE * room.gpu_mib / gpu_need_mib))
    return max(1, min(fits, room.cores))


def run_local(work: Sequence[Work], *, jobs: int = 0) -> Iterator[Done | None]:
    """Run cells, each in a process of its own.

    Args:
        work: In the order in which they are started.
        jobs: How many at once; 0 for as many as the memory and the cores allow.

    Yields:
        Each cell as it ends, and None several times a second.
    """
    room = look_around()
    waiting, running = deque(work), dict[Path, "subprocess.Popen[bytes]"]()
    need, gpu_need = max((item.expected_mib() for item in work), default=BASE_MIB), None
    limit, share = 0, 1
    try:
        while waiting or running:
            now = jobs or at_once(room, need, gpu_need)
            if now != limit:
                limit = now
                share = max(1, room.cores // limit)
                threads = sorted({item.recipe.threads or share for item in work})
                numbers = " or ".join(map(str, threads))
                say(f"{limit} cells at once, threads of each: {numbers}; every cell decodes its own images")
            while waiting and len(running) < limit:
                item = waiting.popleft()
                running[item.folder] = launch(item.folder, 0 if item.recipe.threads else share)
            for folder, process in list(running.items()):
                if (code := process.poll()) is not None:
                    del running[folder]
                    if code == 0:
                        peak, gpu_peak = _peaks(folder)
                        need = peak * GROWTH
                        gpu_need = max(gpu_need or 0.0, gpu_peak * GROWTH + CONTEXT_MIB)
                    yield Done(folder=folder, why=failure(folder, code))
            yield None
            sleep(POLL_S)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


def _peaks(folder: Path) -> tuple[float, float]:
    """Main and GPU memory that a finished cell needed, MiB."""
    score = read_json(folder / SCORE, hint=HINT)
    return float(score["peak_mib"]), float(score["gpu_peak_mib"])
