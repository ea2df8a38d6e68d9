"""Cells of a study on this machine: several processes at once, as many as memory and cores allow.

Every process decodes its own images: the memory cache (``cache_mib``) is not shared between cells, the disk
cache (``disk_cache_mib``) is. All processes use the first GPU if there is one; Ray runs cells on several.
"""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import torch

from devices.linux import read_memory, usable_cores
from distill.study.process import BASE_MIB, HINT, SCORE, CellJob, CellResult, launch, read_failure
from edgestill.files import read_json
from edgestill.progress import say

SPARE = 0.9  # share of the free memory that is used
GROWTH = 1.1  # margin over the largest peak so far
CONTEXT_MIB = 600  # of GPU memory for the CUDA context of a process
POLL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The free resources of this machine.

    Attributes:
        cores: Available to this process.
        memory_mib: Free main memory.
        gpu_mib: Free memory of the first GPU; 0 without one.
    """

    cores: int
    memory_mib: int
    gpu_mib: int = 0


def available_resources() -> Resources:
    """The free resources of this machine before any cell runs."""
    memory = read_memory(Path("/"))
    free = [mib for mib in (memory.available_mib, memory.limit_mib) if mib is not None]
    gpu = torch.cuda.mem_get_info()[0] // 2**20 if torch.cuda.is_available() else 0
    return Resources(
        cores=usable_cores(),
        memory_mib=min(free, default=BASE_MIB),
        gpu_mib=gpu,
    )


def parallel_cells(resources: Resources, need_mib: float, gpu_need_mib: float | None) -> int:
    """The number of cells that run in parallel.

    Args:
        resources: What there is.
        need_mib: Main memory of a cell.
        gpu_need_mib: GPU memory of a cell; None until one has finished.
    """
    fits = int(SPARE * resources.memory_mib / need_mib)
    if resources.gpu_mib:
        fits = 1 if gpu_need_mib is None else min(fits, int(SPARE * resources.gpu_mib / gpu_need_mib))
    return max(1, min(fits, resources.cores))


def run_local(work: Sequence[CellJob], *, jobs: int = 0) -> Iterator[CellResult | None]:
    """Run cells, each in a process of its own.

    Args:
        work: In the order in which they are started.
        jobs: Cells in parallel; 0 for as many as memory and cores allow.

    Yields:
        Each cell as it ends, and None several times a second.
    """
    resources = available_resources()
    waiting, running = deque(work), dict[Path, "subprocess.Popen[bytes]"]()
    need, gpu_need = max((item.expected_mib() for item in work), default=BASE_MIB), None
    limit, share = 0, 1
    try:
        while waiting or running:
            now = jobs or parallel_cells(resources, need, gpu_need)
            if now != limit:
                limit = now
                share = max(1, resources.cores // limit)
                threads = sorted({item.recipe.threads or share for item in work})
                numbers = " or ".join(map(str, threads))
                say(f"{limit} cells in parallel, {numbers} threads each; every cell decodes its own images")
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
                    yield CellResult(folder=folder, failure=read_failure(folder, code))
            yield None
            sleep(POLL_S)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


def _peaks(folder: Path) -> tuple[float, float]:
    """Peak main and GPU memory of a finished cell, MiB."""
    score = read_json(folder / SCORE, hint=HINT)
    return float(score["peak_mib"]), float(score["gpu_peak_mib"])
