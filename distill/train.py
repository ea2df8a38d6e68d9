"""The training loop: one student, at most one frozen teacher, any number of distillation methods.

Step (``distill.training.step``): batch -> teacher (no gradients) and student on the same tensor -> detection
loss + distillation losses -> backward, gradient clipping, optimiser, EMA. After each epoch: a history row
with one column for each part of the loss, a validation if one is due, and the state for ``--resume``.
Validation uses the averaged weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from distill.data.auto_anchor import with_anchors
from distill.data.loader import Batches, find_unlabelled, open_datasets, open_disk_cache
from distill.data.training_images import TrainingImages
from distill.method import FollowsProgress
from distill.qat.initialization import Calibrate
from distill.recipe import Recipe
from distill.training import distributed
from distill.training.continuation import is_early_stop, is_finished
from distill.training.resume import STATE, load_state, save_state
from distill.training.run_folder import (
    BEST,
    LAST,
    RESULT,
    check_run_folder,
    clean_run_folder,
    save_checkpoint,
    save_history,
    save_initial,
    write_result,
)
from distill.training.schedule import method_weight, rates
from distill.training.setup import TrainingRun, build_run, set_rates
from distill.training.step import step
from distill.training.validation import Validation
from edgestill.architecture import STRIDES
from edgestill.errors import UsageError
from edgestill.files import read_json
from edgestill.history import Row
from edgestill.progress import Advance, progress, say


def train(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    calibrate: Calibrate | None = None,
    keep_state: bool = True,
) -> dict[str, Any]:
    """Train a student and write ``best/``, ``last/``, ``history.csv``, ``state.pt``, ``result.json``, plots.

    Args:
        recipe: The recipe.
        out: The run folder.
        resume: Continue the run in that folder; starts a new one if there is none. A finished run goes on if
            the recipe has more epochs, see ``distill.training.continuation``.
        force: Replace the run in that folder.
        calibrate: Finds the initial scales of a quantised student.
        keep_state: Whether a finished run keeps ``state.pt``, so that it can be given more epochs.

    Returns:
        The content of ``result.json``.

    Raises:
        UsageError: The folder already holds a run, or one with another recipe; the recipe does not match its
            data or weights, or the loss is not finite.
        DataError: The data cannot be read, or its classes differ from the teacher's.
    """
    with distributed.process_group(recipe.device):
        check_run_folder(out, resume=resume, force=force)
        is_over = resume and (out / RESULT).is_file() and is_finished(recipe, out / RESULT, out / STATE)
        distributed.barrier()  # every process has read the files before the main process changes them
        if is_over:
            say(f"{out} is already finished")
        else:
            run, validation, counts = _train(recipe, out, resume=resume, force=force, calibrate=calibrate)
            if distributed.is_main_process():
                write_result(run, validation, counts, keep_state=keep_state)
        distributed.barrier()
    result: dict[str, Any] = read_json(out / RESULT, hint="train again with --force")
    return result


def _train(
    recipe: Recipe, out: Path, *, resume: bool, force: bool, calibrate: Calibrate | None
) -> tuple[TrainingRun, Validation, dict[str, int]]:
    """Build the training and run it; gives what the result is made of."""
    if distributed.is_main_process():
        clean_run_folder(out, force=force)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    datasets = open_datasets([Path(path) for path in recipe.data], recipe.leave_out)
    recipe = with_anchors(recipe, datasets)
    resumes = resume and (out / STATE).is_file()
    run = build_run(recipe, out, datasets[0].classes, None if resumes else calibrate)
    if recipe.student.reset_head and not resumes and distributed.is_main_process():
        save_initial(run)
    disk = open_disk_cache(recipe)
    validation = Validation(
        datasets,
        run.spec,
        cache_mib=recipe.cache_mib // 4,
        threads=recipe.loader_threads,
        disk=disk,
        tiling=recipe.tiling,
    )
    scale = run.spec.resized(recipe.tiling.stretched(recipe.input_hw))
    unlabelled = find_unlabelled([Path(folder) for folder in recipe.unlabelled], datasets)
    images = TrainingImages(
        datasets,
        scale,
        cache_mib=recipe.cache_mib,
        disk=disk,
        unlabelled=unlabelled,
        repeat=recipe.repeat,
    )
    if resumes:
        load_state(run)
        if distributed.is_main_process():
            (out / RESULT).unlink(missing_ok=True)  # that of a finished run, which is given more epochs
        say(f"{out}: resuming in epoch {run.counters.epoch + 1}, step {run.counters.step}")
    batches = Batches(
        images,
        run.spec.resized(recipe.train_hw),
        recipe.augment,
        batch=recipe.batch,
        seed=recipe.seed,
        threads=recipe.loader_threads,
        share=(distributed.rank(), distributed.world_size()),
        labelled=images.labelled,
        late=recipe.augment_late,
    )
    _check_cells(batches.batch, recipe.train_hw)
    if recipe.quantisation.family and not run.counters.before and distributed.is_main_process():
        run.counters.before = _scores(run, validation, "quantised, before the first step")
    with batches:
        _epochs(run, batches, validation)
    return run, validation, {"train": images.labelled, "unlabelled": len(unlabelled), "val": len(validation)}


def _check_cells(batch: int, train_hw: tuple[int, int]) -> None:
    """Refuse a batch whose coarsest map has one value a channel: a batch norm needs two for a variance."""
    coarsest = max(STRIDES)
    if batch * (train_hw[0] // coarsest) * (train_hw[1] // coarsest) < 2:
        raise UsageError(
            f"batch = 1 with train_hw = {list(train_hw)} gives one cell on the coarsest map; "
            "a batch norm needs two",
            hint=f"--set train_hw={[2 * side for side in train_hw]}",
        )


def _epochs(run: TrainingRun, batches: Batches, validation: Validation) -> None:
    """Run the remaining epochs."""
    recipe, counters = run.recipe, run.counters
    remaining = (recipe.epochs - counters.epoch) * len(batches) - counters.step
    with progress(f"training {recipe.name}", remaining) as advance:
        while not distributed.broadcast_bool(_is_over(run)):
            row = _epoch(run, batches, advance)
            counters.epoch, counters.step, counters.sums = counters.epoch + 1, 0, {}
            counters.rows.append(row)
            if distributed.is_main_process():
                if counters.epoch % recipe.eval_every == 0 or counters.epoch == recipe.epochs:
                    _validate(run, validation, row)
                save_history(run)
                save_checkpoint(run, LAST, row)
            save_state(run)


def _is_over(run: TrainingRun) -> bool:
    """Whether all epochs are done, or early stopping applies (``recipe.patience``)."""
    recipe, counters = run.recipe, run.counters
    if counters.epoch >= recipe.epochs:
        return True
    early_stop = is_early_stop(recipe.patience, counters.best.get("epoch", 0), counters.epoch)
    if early_stop:
        say(f"early stop after epoch {counters.epoch}: no better mAP since epoch {counters.best['epoch']}")
    return early_stop


def _epoch(run: TrainingRun, batches: Batches, advance: Advance) -> Row:
    """Train the current epoch from the current step on; returns its history row."""
    recipe, counters, steps = run.recipe, run.counters, len(batches)
    method_weights = {
        name: method_weight(method.course, method.floor, method.off_at, counters.epoch, recipe.epochs)
        for name, method in recipe.methods.items()
    }
    for loss in run.method_losses.values():
        if isinstance(loss, FollowsProgress):
            loss.set_progress(counters.epoch / recipe.epochs)
    started, first = perf_counter(), counters.step
    for batch in batches.epoch(counters.epoch, counters.step):
        now = rates(recipe.optimiser, counters.epoch * steps + counters.step, steps, recipe.epochs)
        set_rates(run.optimiser, now)
        for name, value in step(run, batch, method_weights).items():
            counters.sums[name] = counters.sums.get(name, 0.0) + value
        counters.step += 1
        if recipe.save_every_steps and counters.step % recipe.save_every_steps == 0 and counters.step < steps:
            save_state(run)
        speed = (counters.step - first) * batches.batch / (perf_counter() - started)
        advance(note=_note(run, speed))
    seconds = perf_counter() - started
    done = max(counters.step - first, 1)
    return {
        "epoch": counters.epoch + 1,
        "lr": run.optimiser.param_groups[1]["lr"],
        **{name: value / counters.step for name, value in counters.sums.items()},
        "map50": None,
        "map50_95": None,
        "seconds_per_step": seconds / done,
        "images_per_s": done * batches.batch / seconds,
        "seconds": seconds,
    }


def _note(run: TrainingRun, images_per_s: float) -> str:
    """Text beside the progress bar: mean losses of the epoch (one sum for each method) and the speed."""
    recipe, counters = run.recipe, run.counters
    sums: dict[str, float] = {}
    for part, value in counters.sums.items():
        method = next((name for name in recipe.methods if part.startswith(f"{name}_")), part)
        sums[method] = sums.get(method, 0.0) + value / counters.step
    losses = " ".join(f"{name} {value:.3g}" for name, value in sums.items())
    return f"epoch {counters.epoch + 1}/{recipe.epochs} {losses}, {images_per_s:.3g} images/s"


def _validate(run: TrainingRun, validation: Validation, row: Row) -> None:
    """Evaluate the averaged weights, and save them as ``best/`` if they are the best so far."""
    scores = {"epoch": run.counters.epoch, **_scores(run, validation, f"epoch {run.counters.epoch}")}
    row["map50"], row["map50_95"] = scores["map50"], scores["map50_95"]
    if not run.counters.best or fitness(scores) > fitness(run.counters.best):
        run.counters.best = scores
        save_checkpoint(run, BEST, row)


def _scores(run: TrainingRun, validation: Validation, when: str) -> dict[str, Any]:
    """Scores of the averaged weights; also logged in one line."""
    accuracy = validation(run.ema.model)
    say(f"{when}: mAP50 {_points(accuracy.map50)}, mAP50-95 {_points(accuracy.map50_95)}")
    return {"map50": accuracy.map50, "map50_95": accuracy.map50_95, "per_class": accuracy.per_class}


def fitness(scores: Mapping[str, Any]) -> float:
    """Score that selects the best epoch: 0.1 mAP50 + 0.9 mAP50-95, as in the original YOLOv5."""
    return 0.1 * (scores["map50"] or 0.0) + 0.9 * (scores["map50_95"] or 0.0)


def _points(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.1f}"
