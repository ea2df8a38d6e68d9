"""The process of a cell, seen from outside. Nothing here imports torch: who only starts cells needs none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from edgestill.files import read_json

if TYPE_CHECKING:
    from distill.recipe import Recipe

#: The files of a cell, beside those of an ordinary run.
CELL, SCORE, ERROR, FINDINGS, LOG = "cell.json", "score.json", "error.json", "detections.npz", "log.txt"
LOCK = ".lock"
HINT = "remove the cell's folder, or study again with --force"
BASE_MIB = 1500  # torch, the networks, activations, the optimiser: until a finished cell tells better


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A cell that is to be run.

    Attributes:
        folder: The cell's.
        recipe: Its recipe.
        images: Images of the split that it trains on.
    """

    folder: Path
    recipe: Recipe
    images: int

    def expected_mib(self) -> float:
        """Main memory that it may need: decoded images within the cache, and a base."""
        height, width = self.recipe.input_hw
        cache = min(self.recipe.cache_mib * 1.25, self.images * height * width * 3 / 2**20)
        return BASE_MIB + cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A cell whose process ended.

    Attributes:
        folder: The cell's.
        why: What went wrong: ``what``, ``hint``, ``exit_code``; None if nothing did.
    """

    folder: Path
    why: Mapping[str, Any] | None = None


#: Runs cells, first come first; yields each as it ends, and None now and then, to show how far they are.
Engine = Callable[[Sequence[Work]], Iterator[Done | None]]


def folder_lock(folder: Path) -> FileLock:
    """The lock of a study's or a cell's folder. The system releases it when its process ends, even if killed.

    Its file is left behind; whether it exists means nothing. With ``fallback_to_soft`` a file system without
    ``flock`` would get a lock that lasts as long as its file: a killed process would never release it.
    """
    return FileLock(folder / LOCK, fallback_to_soft=False)


def launch(folder: Path, threads: int, cwd: Path | None = None) -> subprocess.Popen[bytes]:
    """Start the process of a cell; what it prints goes to ``log.txt`` in the cell's folder.

    Args:
        folder: The cell's.
        threads: Of the process; 0 leaves it to the recipe.
        cwd: What the recipe's paths are relative to; None for this process's own.
    """
    words = ["-m", "distill.study.cell", str(folder), "--threads", str(threads), "--parent", str(os.getpid())]
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=cwd,
            start_new_session=True,  # an interrupt is the parent's to handle
        )


def failure(folder: Path, code: int) -> Mapping[str, Any] | None:
    """Why the process of a cell ended as it did; None if all is well."""
    if code == 0:
        return None
    if (folder / ERROR).is_file():
        told: Mapping[str, Any] = read_json(folder / ERROR, hint=HINT)
        return told
    hint = f"see {folder / LOG}"
    if code == -9:
        hint += "; mostly the system was out of memory: --jobs 1, or a smaller cache_mib"
    what = f"the process was killed by signal {-code}" if code < 0 else f"the process ended with code {code}"
    return {"what": what, "hint": hint, "exit_code": 5 if code < 0 else 1}
