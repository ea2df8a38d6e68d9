"""One cell of a study: an ordinary run folder, trained and scored in a process of its own.

``python -m distill.study.cell FOLDER`` runs the training that ``FOLDER/cell.json`` describes. It
resumes after an interruption, exits when its parent process exits, and waits for a predecessor in the folder.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import torch

import edgestill
from distill.data.loader import open_datasets
from distill.recipe import Recipe
from distill.recipe_toml import build_recipe
from distill.study.formatting import NO_TEACHER
from distill.study.grid import Cell, Study
from distill.study.process import CELL, DETECTIONS, ERROR, HINT, SCORE, folder_lock
from distill.study.scoring import (
    choose_split,
    evaluate_checkpoint,
    network_values,
    save_detections,
    score_values,
)
from distill.teacher import weights_path
from distill.train import train
from distill.training.continuation import RESUMABLE_CHANGES
from edgestill.checkpoint import WEIGHTS
from edgestill.errors import ToolchainError, UsageError
from edgestill.files import read_json, sha256_file, write_json

FLOORS = ("edgestill", "runtime", "distill")
MISSING = "(missing)"


def cell_description(cell: Cell, study: Study) -> dict[str, Any]:
    """The description of a cell, which is compared to detect changed recipes and weights.

    Raises:
        UsageError: The weights of the teacher or the initial weights of the student are missing.
    """
    sources = {"student.init": cell.recipe.student.init}
    if cell.teacher != NO_TEACHER:
        sources["teacher"] = cell.recipe.teacher
    return {
        "arm": cell.arm,
        "teacher": cell.teacher,
        "student": cell.student,
        "seed": cell.seed,
        "split": study.split,
        "weights": study.weights,
        "table": dict(cell.table),
        "recipe": cell.recipe.to_json(),
        "sha256": {key: digest_of(weights_path(name)) for key, name in sources.items() if name},
    }


def recipe_changes(folder: Path, wanted: Mapping[str, Any]) -> list[str]:
    """The differences between the training in a folder and the requested one; empty if there are none.

    A key that did not exist yet when the cell was trained is not a difference.
    """
    if not (folder / CELL).is_file():
        return []
    stored = read_json(folder / CELL, hint=HINT)
    new, old = _flat(wanted["recipe"]), _flat(stored["recipe"])
    try:
        rebuilt = _flat(build_recipe(stored["arm"], stored["table"]).to_json())
    except ToolchainError as error:
        return [error.what]
    pairs = {key: (old[key], new[key]) for key in old.keys() & new.keys()}
    pairs |= {key: (rebuilt.get(key, MISSING), new.get(key, MISSING)) for key in rebuilt.keys() ^ new.keys()}
    pairs |= {
        f"sha256 of {key}": (stored["sha256"].get(key, MISSING), wanted["sha256"].get(key, MISSING))
        for key in stored["sha256"].keys() | wanted["sha256"].keys()
    }
    return [
        f"{key}: {before} -> {now}"
        for key, (before, now) in sorted(pairs.items())
        if before != now and key not in RESUMABLE_CHANGES
    ]


def is_scored(folder: Path, study: Study) -> bool:
    """Whether a cell is trained, and scored with the split and weights of the study."""
    if not (folder / SCORE).is_file() or not (folder / DETECTIONS).is_file():
        return False
    score = read_json(folder / SCORE, hint=HINT)
    return bool(score["weights"] == study.weights and study.split in {"auto", score["split"]})


def run_cell(folder: Path, *, threads: int = 0) -> dict[str, Any]:
    """Train and score the cell of a folder, or resume it.

    Args:
        folder: The cell's.
        threads: Of this process; 0 for those of the recipe.

    Returns:
        The content of ``score.json``.
    """
    what = read_json(folder / CELL, hint=HINT)
    recipe = _limited(build_recipe(what["arm"], what["table"]), threads)
    code = _code_digest()
    datasets = open_datasets([Path(path) for path in recipe.data], recipe.leave_out)
    split = choose_split(datasets, what["split"])
    result = train(recipe, folder, resume=True, keep_state=False)
    accuracy, detections = evaluate_checkpoint(folder / what["weights"], datasets, split, recipe.input_hw)
    save_detections(folder / DETECTIONS, detections)
    score = {
        **{key: what[key] for key in ("arm", "teacher", "student", "seed", "weights")},
        "split": split,
        "code": code,
        "model": recipe.student.model,
        "epochs": result["epochs"],
        "epoch": result["best_epoch"] if what["weights"] == "best" else result["epochs"],
        **score_values(accuracy),
        "network": network_values(folder / what["weights"], recipe.input_hw),
        "training_seconds": result["training_seconds"],
        "seconds_per_step": result["seconds_per_step"],
        "arithmetic": result["arithmetic"],
        "taught_by": result["teacher"],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "gpu_peak_mib": torch.cuda.max_memory_reserved() // 2**20 if torch.cuda.is_available() else 0,
    }
    write_json(folder / SCORE, score)
    (folder / ERROR).unlink(missing_ok=True)
    return score


def main(words: Sequence[str] | None = None) -> int:
    """Run a cell; gives the exit code, and writes ``error.json`` for an expected error."""
    parser = argparse.ArgumentParser(prog="python -m distill.study.cell")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--parent", type=int, default=0)
    args = parser.parse_args(words)
    if args.parent:
        _exit_with_parent(args.parent)
    with folder_lock(args.folder):
        return _run_or_report(args.folder, args.threads)


def _run_or_report(folder: Path, threads: int) -> int:
    """Run a cell; gives the exit code, and writes ``error.json`` for an expected error."""
    (folder / ERROR).unlink(missing_ok=True)
    try:
        run_cell(folder, threads=threads)
    except ToolchainError as error:
        print(error, file=sys.stderr)
        report = {"what": error.what, "hint": error.hint, "exit_code": error.exit_code}
        write_json(folder / ERROR, report)
        return error.exit_code
    return 0


def _limited(recipe: Recipe, threads: int) -> Recipe:
    """The recipe with a limited number of threads."""
    if not threads:
        return recipe
    return replace(recipe, threads=threads, loader_threads=min(recipe.loader_threads, threads))


def _code_digest() -> str:
    """SHA-256 of the code that trains and scores, first 12 digits: it may change during a long study."""
    root = Path(edgestill.__file__).parent.parent
    files = sorted(path for floor in FLOORS for path in (root / floor).rglob("*.py"))
    return sha256("".join(map(sha256_file, files)).encode()).hexdigest()[:12]


def digest_of(path: Path) -> str:
    """SHA-256 of the weights at a path: a checkpoint's folder, or a file.

    Raises:
        UsageError: There are no weights.
    """
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise UsageError(
            f"there are no weights at {path}", hint="name a folder that `edgestill distill` wrote"
        )
    return sha256_file(file)


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted key; a list is one value, an empty table is one too."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _exit_with_parent(parent: int) -> None:
    """Exit soon after the parent process: an orphan would write into the folder of its successor."""

    def watch() -> None:
        while os.getppid() == parent:
            sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
