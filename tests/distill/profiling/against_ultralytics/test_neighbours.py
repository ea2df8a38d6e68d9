"""Busy processes beside a training: they run while it does, and never longer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distill.profiling.against_ultralytics.compare import TrainingSpeed
from distill.profiling.against_ultralytics.neighbours import LOOP, beside, busy_processes


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_processes_end_with_the_training() -> None:
    with busy_processes(2) as ids:
        assert len(set(ids)) == 2
        assert all(map(runs, ids))
    assert not any(map(runs, ids))


def test_the_processes_end_if_the_training_fails(tmp_path: Path) -> None:
    seen: list[int] = []

    def run(folder: Path) -> TrainingSpeed:
        names = (path.name for path in Path("/proc").iterdir())
        seen.extend(int(name) for name in names if name.isdigit() and _is_loop(name))
        raise ValueError(str(folder))

    with pytest.raises(ValueError, match=tmp_path.name):
        beside(run, 1)(tmp_path)
    assert len(seen) == 1
    assert not runs(seen[0])


def _is_loop(process: str) -> bool:
    """Whether a process is a busy one of this test."""
    try:
        words = Path("/proc", process, "cmdline").read_bytes().split(b"\0")
    except OSError:  # it has ended meanwhile
        return False
    return LOOP.encode() in words and str(os.getpid()).encode() in words


def test_an_orphan_ends_by_itself() -> None:
    done = subprocess.run([sys.executable, "-S", "-c", LOOP, "1"], check=False, timeout=60)
    assert done.returncode == 0  # its parent is another one
