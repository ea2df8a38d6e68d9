"""Start the process of a cell, and read its result. Does not import torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from distill.training.process_settings import let_idle_threads_sleep
from edgestill.files import read_json

if TYPE_CHECKING:
    from distill.recipe import Recipe

#: The files of a cell, beside those of an ordinary run.
CELL, SCORE, ERROR, DETECTIONS, LOG = "cell.json", "score.json", "error.json", "detections.npz", "log.txt"
LOCK = ".lock"
HINT = "remove the cell's folder, or study again with --force"
BASE_MIB = 1500  # torch, the networks, activations, the optimiser: until a finished cell gives its peak


@dataclass(frozen=True, slots=True, kw_only=True)
class CellJob:
    """A cell to run.

    Attributes:
        folder: The cell's.
        recipe: Its recipe.
        images: Images of the split that it trains on.
    """

    folder: Path
    recipe: Recipe
    images: int

    def expected_mib(self) -> float:
        """Estimate of its main memory, MiB: decoded images within the cache, and a base."""
        height, width = self.recipe.input_hw
        cache = min(self.recipe.cache_mib * 1.25, self.images * height * width * 3 / 2**20)
        return BASE_MIB + cache


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """The result of a cell whose process ended.

    Attributes:
        folder: The cell's.
        failure: The error: ``what``, ``hint``, ``exit_code``; None without one.
    """

    folder: Path
    failure: Mapping[str, Any] | None = None


#: Runs cells in order; yields each result, and None several times a second so that progress can be shown.
CellRunner = Callable[[Sequence[CellJob]], Iterator[CellResult | None]]


def folder_lock(folder: Path) -> FileLock:
    """The lock of a study's or a cell's folder. The system releases it when its process ends, even if killed.

    Its file is left behind; whether it exists means nothing. With ``fallback_to_soft`` a file system without
    ``flock`` would get a lock that lasts as long as its file: a killed process would never release it.
    """
    return FileLock(folder / LOCK, fallback_to_soft=False)


def launch(folder: Path, threads: int, cwd: Path | None = None) -> subprocess.Popen[bytes]:
    """Start the process of a cell; its output goes to ``log.txt`` in the cell's folder.

    Args:
        folder: The cell's.
        threads: Of the process; 0 for those of the recipe.
        cwd: Base of relative paths in the recipe; None for that of this process.
    """
    words = ["-m", "distill.study.cell", str(folder), "--threads", str(threads), "--parent", str(os.getpid())]
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    let_idle_threads_sleep(environment)
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=cwd,
            start_new_session=True,  # the parent handles interrupts
        )


def read_failure(folder: Path, code: int) -> Mapping[str, Any] | None:
    """The error of a cell by its exit code; None for 0."""
    if code == 0:
        return None
    if (folder / ERROR).is_file():
        report: Mapping[str, Any] = read_json(folder / ERROR, hint=HINT)
        return report
    hint = f"see {folder / LOG}"
    if code == -9:
        hint += "; usually the system is out of memory: --jobs 1, or a smaller cache_mib"
    what = f"the process was killed by signal {-code}" if code < 0 else f"the process ended with code {code}"
    return {"what": what, "hint": hint, "exit_code": 5 if code < 0 else 1}
