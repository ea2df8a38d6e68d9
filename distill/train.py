"""The training loop, top to bottom: one student, no or one frozen teacher, any distillation methods.

Step (``distill.training.step``): batch -> teacher (no gradients) and student on the same tensor -> detection
loss + distillation terms -> backward, clip, the optimiser, moving average. Epoch: a row of history, in which
each part of the loss has a column of its own, perhaps a validation, the state for ``--resume``. Validation
looks at the averaged weights, without any distillation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from distill.data.auto_anchor import with_anchors
from distill.data.loader import Batches, TrainingImages, find_unlabelled, open_datasets, open_disk_cache
from distill.method import Progressive
from distill.qat.begin import Place
from distill.recipe import Recipe
from distill.training import distributed
from distill.training.resume import STATE, load_state, save_state
from distill.training.run_folder import BEST, LAST, RESULT, claim, clear, finish, keep, keep_history
from distill.training.schedule import rates, strength
from distill.training.setup import Run, set_rates, start
from distill.training.step import step
from distill.training.validation import Validation
from edgestill.architecture import STRIDES
from edgestill.errors import UsageError
from edgestill.files import read_json
from edgestill.history import Row
from edgestill.progress import Advance, progress, say


def train(
    recipe: Recipe, out: Path, *, resume: bool = False, force: bool = False, place: Place | None = None
) -> dict[str, Any]:
    """Train a student and write ``best/``, ``last/``, ``history.csv``, ``result.json`` and pictures.

    Args:
        recipe: What to train.
        out: Folder of the run.
        resume: Go on where a run in that folder stopped; a fresh start if there is none.
        force: Replace a run in that folder.
        place: Finds where a student with rounding is rounded.

    Returns:
        The content of ``result.json``.

    Raises:
        UsageError: The folder holds a run, the recipe does not fit to what it names, or the loss is not
        finite.
        DataError: The data cannot be read, or its classes differ from the teacher's.
    """
    with distributed.group(recipe.device):
        claim(out, resume=resume, force=force)
        if resume and (out / RESULT).is_file():
            say(f"{out} is finished already")
        else:
            _train(recipe, out, resume=resume, force=force, place=place)
        distributed.wait()
    result: dict[str, Any] = read_json(out / RESULT, hint="train again with --force")
    return result


def _train(recipe: Recipe, out: Path, *, resume: bool, force: bool, place: Place | None) -> None:
    """Put everything together, run it, and finish the folder."""
    if distributed.is_first():
        clear(out, force=force)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    datasets = open_datasets([Path(path) for path in recipe.data])
    recipe = with_anchors(recipe, datasets)
    goes_on = resume and (out / STATE).is_file()
    run = start(recipe, out, datasets[0].classes, None if goes_on else place)
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
    images = TrainingImages(datasets, scale, cache_mib=recipe.cache_mib, disk=disk, unlabelled=unlabelled)
    if goes_on:
        load_state(run)
        say(f"{out}: going on in epoch {run.at.epoch + 1}, step {run.at.step}")
    batches = Batches(
        images,
        run.spec.resized(recipe.train_hw),
        recipe.augment,
        batch=recipe.batch,
        seed=recipe.seed,
        threads=recipe.loader_threads,
        share=(distributed.rank(), distributed.processes()),
        labelled=images.labelled,
    )
    _check_cells(batches.batch, recipe.train_hw)
    if recipe.quantisation.family and not run.at.before and distributed.is_first():
        run.at.before = _scores(run, validation, "rounded, before the first step")
    with batches:
        _epochs(run, batches, validation)
    if distributed.is_first():
        counts = {"train": images.labelled, "unlabelled": len(unlabelled), "val": len(validation)}
        finish(run, validation, counts)


def _check_cells(batch: int, train_hw: tuple[int, int]) -> None:
    """Refuse what a batch norm cannot take a variance over."""
    coarsest = max(STRIDES)
    if batch * (train_hw[0] // coarsest) * (train_hw[1] // coarsest) < 2:
        raise UsageError(
            f"a batch of one image of {train_hw[0]} x {train_hw[1]} has one cell on the coarsest map; "
            "a batch norm needs two",
            hint=f"--set train_hw={[2 * side for side in train_hw]}",
        )


def _epochs(run: Run, batches: Batches, validation: Validation) -> None:
    """Run the epochs that are left."""
    recipe, at = run.recipe, run.at
    left = (recipe.epochs - at.epoch) * len(batches) - at.step
    with progress(f"training {recipe.name}", left) as advance:
        while not distributed.word_of_first(_is_over(run)):
            row = _epoch(run, batches, advance)
            at.epoch, at.step, at.sums = at.epoch + 1, 0, {}
            at.rows.append(row)
            if distributed.is_first():
                if at.epoch % recipe.eval_every == 0 or at.epoch == recipe.epochs:
                    _validate(run, validation, row)
                keep_history(run)
                keep(run, LAST, row)
            save_state(run)


def _is_over(run: Run) -> bool:
    """Whether the epochs are through, or the student has not become better for long enough."""
    recipe, at = run.recipe, run.at
    if at.epoch >= recipe.epochs:
        return True
    tired = bool(recipe.patience and at.best and at.epoch - at.best["epoch"] >= recipe.patience)
    if tired:
        say(f"no better mAP since epoch {at.best['epoch']}: stopped in epoch {at.epoch}")
    return tired


def _epoch(run: Run, batches: Batches, advance: Advance) -> Row:
    """Train one epoch, or what an interruption left of it; gives its row of history."""
    recipe, at, steps = run.recipe, run.at, len(batches)
    strengths = {
        name: strength(term.course, term.floor, term.off_at, at.epoch, recipe.epochs)
        for name, term in recipe.methods.items()
    }
    for loss in run.terms.values():
        if isinstance(loss, Progressive):
            loss.set_progress(at.epoch / recipe.epochs)
    begin, first = perf_counter(), at.step
    for batch in batches.epoch(at.epoch, at.step):
        now = rates(recipe.optimiser, at.epoch * steps + at.step, steps, recipe.epochs)
        set_rates(run.optimiser, now)
        for name, value in step(run, batch, strengths).items():
            at.sums[name] = at.sums.get(name, 0.0) + value
        at.step += 1
        if recipe.save_every_steps and at.step % recipe.save_every_steps == 0 and at.step < steps:
            save_state(run)
        speed = (at.step - first) * batches.batch / (perf_counter() - begin)
        advance(note=_note(run, speed))
    seconds = perf_counter() - begin
    done = max(at.step - first, 1)
    return {
        "epoch": at.epoch + 1,
        "lr": run.optimiser.param_groups[1]["lr"],
        **{name: value / at.step for name, value in at.sums.items()},
        "map50": None,
        "map50_95": None,
        "seconds_per_step": seconds / done,
        "images_per_s": done * batches.batch / seconds,
        "seconds": seconds,
    }


def _note(run: Run, images_per_s: float) -> str:
    """What stands beside the bar: mean losses of the epoch, those of a method added up, and the speed."""
    recipe, at = run.recipe, run.at
    sums: dict[str, float] = {}
    for part, value in at.sums.items():
        method = next((name for name in recipe.methods if part.startswith(f"{name}_")), part)
        sums[method] = sums.get(method, 0.0) + value / at.step
    losses = " ".join(f"{name} {value:.3g}" for name, value in sums.items())
    return f"epoch {at.epoch + 1}/{recipe.epochs} {losses}, {images_per_s:.3g} images/s"


def _validate(run: Run, validation: Validation, row: Row) -> None:
    """Score the averaged weights; keep them as ``best/`` if they are."""
    scores = {"epoch": run.at.epoch, **_scores(run, validation, f"epoch {run.at.epoch}")}
    row["map50"], row["map50_95"] = scores["map50"], scores["map50_95"]
    if not run.at.best or fitness(scores) > fitness(run.at.best):
        run.at.best = scores
        keep(run, BEST, row)


def _scores(run: Run, validation: Validation, when: str) -> dict[str, Any]:
    """Scores of the averaged weights, told in one line."""
    accuracy = validation(run.ema.model)
    say(f"{when}: mAP50 {_points(accuracy.map50)}, mAP50-95 {_points(accuracy.map50_95)}")
    return {"map50": accuracy.map50, "map50_95": accuracy.map50_95, "per_class": accuracy.per_class}


def fitness(scores: Mapping[str, Any]) -> float:
    """What decides which epoch is the best: mAP50-95, and a little mAP50, as in the original YOLOv5."""
    return 0.1 * (scores["map50"] or 0.0) + 0.9 * (scores["map50_95"] or 0.0)


def _points(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.1f}"
