"""The folder of a run: what lies in it, who may write there, and what is left when the training is over."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import Any

import torch

import edgestill
from distill.plots.run_plots import draw
from distill.qat import checkpoint
from distill.qat.begin import BEGIN
from distill.training.resume import STATE
from distill.training.setup import Run
from distill.training.validation import Validation
from edgestill.errors import UsageError
from edgestill.files import remove_leftovers, write_json
from edgestill.history import Row, write_history

BEST, LAST = "best", "last"
HISTORY, RESULT = "history.csv", "result.json"
FILES = (STATE, HISTORY, RESULT)


def claim(out: Path, *, resume: bool, force: bool) -> None:
    """Refuse a folder that holds a run, unless it is to go on or to be replaced.

    Raises:
        UsageError: It holds one, or it is to go on and to be replaced.
    """
    if resume and force:
        raise UsageError("--resume and --force contradict each other", hint="give one of them")
    taken = [name for name in (*FILES, BEGIN, BEST, LAST) if (out / name).exists()]
    if taken and not (resume or force):
        raise UsageError(
            f"{out} holds a run already ({', '.join(taken)})",
            hint="--resume goes on with it, --force replaces it, --out names another folder",
        )


def clear(out: Path, *, force: bool) -> None:
    """Remove what a killed process had not finished writing; with ``force`` the whole old run."""
    for name in FILES:
        remove_leftovers(out / name)
        if force:
            (out / name).unlink(missing_ok=True)
    if force:  # a run that dies early must not leave the old one's weights as its own
        for name in (BEGIN, BEST, LAST):
            rmtree(out / name, ignore_errors=True)


def keep(run: Run, name: str, row: Row) -> None:
    """Write the averaged weights as ``best/`` or ``last/``."""
    about = {
        "trained_by": f"edgestill {edgestill.__version__}",
        "recipe": run.recipe.to_json(),
        "teacher": _teacher(run),
        "epoch": run.at.epoch,
        "map50": row["map50"],
        "map50_95": row["map50_95"],
    }
    checkpoint.save(run.out / name, run.ema.model, run.spec, about)


def keep_history(run: Run) -> None:
    """Write the rows of all epochs so far."""
    write_history(run.out / HISTORY, run.at.rows)


def finish(run: Run, validation: Validation, images: dict[str, int]) -> None:
    """Write the result and the pictures; the state is of no use any more."""
    rows, best = run.at.rows, run.at.best
    network = checkpoint.load(run.out / BEST)[0].to(run.compute.device)
    seconds = [row["seconds_per_step"] or 0.0 for row in rows]
    result: dict[str, Any] = {
        "best": str(run.out / BEST),
        "last": str(run.out / LAST),
        "history": str(run.out / HISTORY),
        "pictures": draw(run.out, rows, network, validation),
        "best_epoch": best["epoch"],
        "map50": best["map50"],
        "map50_95": best["map50_95"],
        "per_class": best["per_class"],
        **({"before": run.at.before} if run.at.before else {}),
        "epochs": run.at.epoch,
        "seed": run.recipe.seed,
        "seconds_per_step": sum(seconds) / len(seconds),
        "images_per_s": sum(row["images_per_s"] or 0.0 for row in rows) / len(rows),
        "training_seconds": sum(row["seconds"] or 0.0 for row in rows),
        "arithmetic": run.compute.describe(),
        "threads": torch.get_num_threads(),
        "images": images,
        "teacher": _teacher(run),
        "recipe": run.recipe.to_json(),
    }
    write_json(run.out / RESULT, result)
    (run.out / STATE).unlink(missing_ok=True)


def _teacher(run: Run) -> dict[str, Any] | None:
    if run.teacher is None:
        return None
    return {
        "name": run.teacher.facts.name,
        "path": run.recipe.taught_by,
        "teaching": run.teacher.teaching,
        "checksums": dict(run.teacher.checksums),
    }
