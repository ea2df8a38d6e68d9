"""Settings of a process that must be made before torch is imported: idle threads and freed memory.

**Idle threads.** Between two operators the threads of OpenMP spin for a while. Where other programs need
the cores, the spinning threads take the time that a working thread waits for. ``OMP_WAIT_POLICY=passive``
lets them sleep; docs/results/shared-machines.md has what that costs on a quiet machine and gains on a busy
one.

**Freed memory.** Feature maps of a training step are tens of megabytes. glibc returns such blocks to the
system as soon as they are freed, and the system hands them out again in pages of 4 KiB, each zeroed and
faulted in by itself.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import MutableMapping

#: Settings of a user that say how idle threads wait: OpenMP's own, GNU's and LLVM's.
WAIT_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGEST = 32 * 2**20  # bytes; the largest M_MMAP_THRESHOLD that glibc accepts
KEPT = 2**31 - 1  # bytes that may stay free at the end of the heap; the largest value of the argument


def prepare_process() -> None:
    """Make both settings, in this process and its children; call it before torch is imported."""
    let_idle_threads_sleep(os.environ)
    keep_freed_memory()


def let_idle_threads_sleep(environment: MutableMapping[str, str]) -> None:
    """Set ``OMP_WAIT_POLICY=passive``, unless the user set it or another variable of that kind."""
    if not any(name in environment for name in WAIT_SETTINGS):
        environment["OMP_WAIT_POLICY"] = "passive"


def keep_freed_memory() -> None:
    """Keep freed memory for the next step, in large pages, on Linux with glibc; elsewhere do nothing."""
    if not sys.platform.startswith("linux"):
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch reads it at its first allocation
    tune = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
    if tune is not None:
        tune(M_MMAP_THRESHOLD, LARGEST)
        tune(M_TRIM_THRESHOLD, KEPT)
