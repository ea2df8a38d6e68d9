"""The run folder: check before the start, checkpoints and history during the run, result at the end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch

import edgestill
from distill.plots.run_plots import deployed_detections, draw
from distill.qat import checkpoint
from distill.qat.initialization import INITIAL_CHECKPOINT
from distill.teacher import LICENCE
from distill.training.resume import STATE
from distill.training.setup import TrainingRun
from distill.training.validation import Validation
from edgestill.errors import UsageError
from edgestill.files import remove_leftovers, write_json
from edgestill.history import Row, write_history
from runtime.metrics.confusion import taken_for

BEST, LAST = "best", "last"
HISTORY, RESULT = "history.csv", "result.json"
FILES = (STATE, HISTORY, RESULT)


def check_run_folder(out: Path, *, resume: bool, force: bool) -> None:
    """Refuse a folder that already holds a run, unless ``resume`` or ``force`` is set.

    Raises:
        UsageError: The folder holds a run, or both ``resume`` and ``force`` are set.
    """
    if resume and force:
        raise UsageError("--resume and --force exclude each other", hint="give one of them")
    taken = [name for name in (*FILES, INITIAL_CHECKPOINT, BEST, LAST) if (out / name).exists()]
    if taken and not (resume or force):
        raise UsageError(
            f"{out} already holds a run ({', '.join(taken)})",
            hint="--resume continues it, --force replaces it, --out names another folder",
        )


def clean_run_folder(out: Path, *, force: bool) -> None:
    """Remove partly written files of a killed process; with ``force`` remove the whole previous run."""
    for name in FILES:
        remove_leftovers(out / name)
        if force:
            (out / name).unlink(missing_ok=True)
    if force:  # if this run fails early, weights of the previous one must not be taken for its own
        for name in (INITIAL_CHECKPOINT, BEST, LAST):
            rmtree(out / name, ignore_errors=True)


def save_checkpoint(run: TrainingRun, name: str, row: Row) -> None:
    """Write the averaged weights as the checkpoint ``best/`` or ``last/``."""
    about = {
        "trained_by": f"edgestill {edgestill.__version__}",
        "recipe": run.recipe.to_json(),
        "teacher": _teacher(run),
        "epoch": run.counters.epoch,
        "map50": row["map50"],
        "map50_95": row["map50_95"],
        **_licence(run),
    }
    checkpoint.save(run.folder / name, run.ema.model, run.spec, about)


def save_initial(run: TrainingRun) -> None:
    """Write the student before its first step as the checkpoint ``begin/``, to be compared with ``best/``."""
    about = {
        "trained_by": f"edgestill {edgestill.__version__}",
        "recipe": run.recipe.to_json(),
        **_licence(run),
    }
    checkpoint.save(run.folder / INITIAL_CHECKPOINT, run.ema.model, run.spec, about)


def _licence(run: TrainingRun) -> dict[str, str]:
    return {LICENCE: run.licence} if run.licence else {}


def save_history(run: TrainingRun) -> None:
    """Write ``history.csv`` with the rows of all epochs so far."""
    write_history(run.folder / HISTORY, run.counters.rows)


def write_result(
    run: TrainingRun, validation: Validation, images: dict[str, int], *, keep_state: bool
) -> None:
    """Write ``result.json`` and the plots.

    Args:
        run: The training, after its last epoch.
        validation: The validation images, for the plots.
        images: Number of images by their use.
        keep_state: Whether the training state stays, with which the run can be given more epochs.
    """
    rows, best = run.counters.rows, run.counters.best
    network = checkpoint.load(run.folder / BEST)[0].to(run.compute.device)
    seconds = [row["seconds_per_step"] or 0.0 for row in rows]
    found = validation.detections(network)
    pictures = draw(run.folder, rows, found, validation)
    confident = [deployed_detections(one) for one in found]
    result: dict[str, Any] = {
        "best": str(run.folder / BEST),
        "last": str(run.folder / LAST),
        "history": str(run.folder / HISTORY),
        "pictures": pictures,
        "files": run_files(run.folder, pictures.values(), keep_state=keep_state),
        "best_epoch": best["epoch"],
        "map50": best["map50"],
        "map50_95": best["map50_95"],
        "per_class": best["per_class"],
        "taken_for": taken_for(confident, validation.truths, validation.classes),
        **({"before": run.counters.before} if run.counters.before else {}),
        "epochs": run.counters.epoch,
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
    write_json(run.folder / RESULT, result)
    if not keep_state:
        (run.folder / STATE).unlink(missing_ok=True)


def run_files(folder: Path, pictures: Iterable[str], *, keep_state: bool) -> list[str]:
    """Every file of a finished run, sorted; ``result.json`` too, which names them."""
    tables = [folder / name for name in FILES if name != STATE or keep_state]
    checkpoints = [
        path
        for name in (INITIAL_CHECKPOINT, BEST, LAST)
        for path in (folder / name).rglob("*")
        if path.is_file()
    ]
    return sorted({*map(str, (*tables, *checkpoints)), *pictures})


def _teacher(run: TrainingRun) -> dict[str, Any] | None:
    if run.teacher is None:
        return None
    return {
        "name": run.teacher.info.name,
        "path": run.recipe.teacher_weights,
        "teaching": run.teacher.teaching,
        "checksums": dict(run.teacher.checksums),
    }
