"""The training loop, top to bottom: one student, no or one frozen teacher, any distillation methods.

Step: batch -> teacher (no gradients) and student on the same tensor -> detection loss + distillation terms ->
backward, clip, SGD, moving average. Epoch: a row of history, perhaps a validation, the state for
``--resume``.

Conventions: every term is multiplied by the batch size, as the detection loss is, so that a weight in a
recipe means the same at every batch size. Distillation terms are computed in float32 and have columns of
their own; validation looks at the averaged weights, without any of them. One batch is one step: gradients are
not accumulated.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from shutil import rmtree
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

import edgestill
from distill import checkpoint
from distill.data import Batch, Batches, TrainingImages, open_datasets
from distill.history import Row, write_history
from distill.models.yolov5 import Yolov5
from distill.plots import plot_history
from distill.precision import Arithmetic
from distill.recipe import Recipe
from distill.run import Counters, Run, set_rates, start
from distill.schedule import rates, strength
from distill.state import STATE, load_state, save_state
from distill.taps import Taps
from distill.validation import Validation
from distill.views import View
from edgestill.errors import UsageError
from edgestill.files import read_json, write_json
from edgestill.progress import Advance, progress, say

HISTORY, RESULT, PLOT = "history.csv", "result.json", "history.png"


def train(recipe: Recipe, out: Path, *, resume: bool = False, force: bool = False) -> dict[str, Any]:
    """Train a student and write ``best/``, ``last/``, ``history.csv`` and ``result.json``.

    Args:
        recipe: What to train.
        out: Folder of the run.
        resume: Go on where a run in that folder stopped; a fresh start if there is none.
        force: Replace a run in that folder.

    Returns:
        The content of ``result.json``.

    Raises:
        UsageError: The folder holds a run, the recipe does not fit to what it names, or the loss is not
        finite.
        DataError: The data cannot be read, or its classes differ from the teacher's.
    """
    if resume and (out / RESULT).is_file():
        say(f"{out} is finished already")
        done: dict[str, Any] = read_json(out / RESULT, hint="train again with --force")
        return done
    _claim(out, resume=resume, force=force)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    datasets = open_datasets([Path(path) for path in recipe.data])
    run = start(recipe, out, datasets[0].classes)
    validation = Validation(
        datasets, run.spec, cache_mib=recipe.cache_mib // 4, threads=recipe.loader_threads
    )
    images = TrainingImages(datasets, run.spec, cache_mib=recipe.cache_mib, threads=recipe.loader_threads)
    if resume and (out / STATE).is_file():
        load_state(run)
        say(f"{out}: going on in epoch {run.at.epoch + 1}, step {run.at.step}")
    batches = Batches(
        images,
        run.spec.resized(recipe.train_hw),
        recipe.augment,
        batch=recipe.batch,
        seed=recipe.seed,
        threads=recipe.loader_threads,
    )
    with batches:
        _epochs(run, batches, validation)
    return _finish(run, {"train": len(images), "val": len(validation)})


def _epochs(run: Run, batches: Batches, validation: Validation) -> None:
    """Run the epochs that are left."""
    recipe, at = run.recipe, run.at
    left = (recipe.epochs - at.epoch) * len(batches) - at.step
    with progress(f"training {recipe.name}", left) as advance:
        while at.epoch < recipe.epochs:
            row = _epoch(run, batches, advance)
            at.epoch, at.step, at.sums = at.epoch + 1, 0, {}
            if at.epoch % recipe.eval_every == 0 or at.epoch == recipe.epochs:
                _validate(run, validation, row)
            at.rows.append(row)
            write_history(run.out / HISTORY, at.rows)
            checkpoint.save(run.out / "last", run.ema.model, run.spec, _about(run, row))
            save_state(run)
            if recipe.patience and at.best and at.epoch - at.best["epoch"] >= recipe.patience:
                say(f"no better mAP since epoch {at.best['epoch']}: stopped in epoch {at.epoch}")
                return


def _epoch(run: Run, batches: Batches, advance: Advance) -> Row:
    """Train one epoch, or what an interruption left of it; gives its row of history."""
    recipe, at, steps = run.recipe, run.at, len(batches)
    strengths = {
        name: strength(term.course, term.floor, term.off_at, at.epoch, recipe.epochs)
        for name, term in recipe.methods.items()
    }
    begin, first = perf_counter(), at.step
    for batch in batches.epoch(at.epoch, at.step):
        now = rates(recipe.optimiser, at.epoch * steps + at.step, steps, recipe.epochs)
        set_rates(run.optimiser, now)
        for name, value in step(run, batch, strengths).items():
            at.sums[name] = at.sums.get(name, 0.0) + value
        at.step += 1
        if recipe.save_every_steps and at.step % recipe.save_every_steps == 0 and at.step < steps:
            save_state(run)
        losses = " ".join(f"{name} {value / at.step:.4f}" for name, value in at.sums.items())
        advance(note=f"epoch {at.epoch + 1}/{recipe.epochs} {losses}")
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


def step(run: Run, batch: Batch, strengths: Mapping[str, float]) -> dict[str, float]:
    """One step of the optimiser.

    Args:
        run: The training; its networks, optimiser and moving average change.
        batch: What to learn from.
        strengths: Factor on each distillation method in this epoch; 0 switches it off.

    Returns:
        Every part of the loss, per image.
    """
    arithmetic = run.arithmetic
    images = arithmetic.images(batch.images, run.spec.scale)
    targets = batch.targets.to(arithmetic.device)
    active = {name: factor for name, factor in strengths.items() if factor}
    distilled: dict[str, Tensor] = {}
    if active and run.teacher is not None:
        # The teacher sees the tensor that the student sees, augmentation included.
        with torch.no_grad():
            taught = look(run.teacher.model, images, arithmetic)
        seen = look(run.model, images, arithmetic)
        raw = seen.raw
        for name, factor in active.items():
            for part, value in run.terms[name](seen, taught, targets).items():
                distilled[f"{name}_{part}"] = factor * value
    else:
        with arithmetic.autocast():
            raw = run.model(images)
    total, parts = run.loss(raw, targets)
    if distilled:
        total = total + len(images) * torch.stack(list(distilled.values())).sum()
    values = {name: float(part.detach()) for name, part in {**parts, **distilled}.items()}
    _check_finite(values, run.at)
    _descend(run, total)
    return values


def look(model: Yolov5, images: Tensor, arithmetic: Arithmetic) -> View:
    """What a network makes of a batch, in float32: maps of its neck and raw predictions."""
    with Taps(model) as taps, arithmetic.autocast():
        raw = model(images)
        features = {level: feature.float() for level, feature in taps.features.items()}
    return View(features, [level.float() for level in raw])


def _descend(run: Run, total: Tensor) -> None:
    """Backward, clip, step, average."""
    run.optimiser.zero_grad(set_to_none=True)
    run.scaler.scale(total).backward()
    run.scaler.unscale_(run.optimiser)
    parameters = [p for group in run.optimiser.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, run.recipe.optimiser.clip)
    run.scaler.step(run.optimiser)
    run.scaler.update()
    run.ema.update(run.model)


def _check_finite(values: Mapping[str, float], at: Counters) -> None:
    for name, value in values.items():
        if not isfinite(value):
            raise UsageError(
                f"the loss part {name} is {value} in epoch {at.epoch + 1}, step {at.step + 1}",
                hint="lower optimiser.lr or the part's weight, or --set precision=fp32, and --force",
            )


def _validate(run: Run, validation: Validation, row: Row) -> None:
    """Score the averaged weights; keep them as ``best/`` if they are."""
    accuracy = validation(run.ema.model)
    row["map50"], row["map50_95"] = accuracy.map50, accuracy.map50_95
    say(f"epoch {run.at.epoch}: mAP50 {_points(accuracy.map50)}, mAP50-95 {_points(accuracy.map50_95)}")
    scores = {
        "epoch": run.at.epoch,
        "map50": accuracy.map50,
        "map50_95": accuracy.map50_95,
        "per_class": accuracy.per_class,
    }
    if not run.at.best or fitness(scores) > fitness(run.at.best):
        run.at.best = scores
        checkpoint.save(run.out / "best", run.ema.model, run.spec, _about(run, row))


def fitness(scores: Mapping[str, Any]) -> float:
    """What decides which epoch is the best: mAP50-95, and a little mAP50, as in the original YOLOv5."""
    return 0.1 * (scores["map50"] or 0.0) + 0.9 * (scores["map50_95"] or 0.0)


def _points(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.1f}"


def _about(run: Run, row: Row) -> dict[str, Any]:
    """What a checkpoint says about its making."""
    return {
        "trained_by": f"edgestill {edgestill.__version__}",
        "recipe": run.recipe.to_json(),
        "teacher": _teacher(run),
        "epoch": run.at.epoch,
        "map50": row["map50"],
        "map50_95": row["map50_95"],
    }


def _teacher(run: Run) -> dict[str, Any] | None:
    if run.teacher is None:
        return None
    return {
        "name": run.teacher.spec.name,
        "path": run.recipe.teacher,
        "checksums": dict(run.teacher.checksums),
    }


def _finish(run: Run, images: dict[str, int]) -> dict[str, Any]:
    """Write the result and the plot; the state is of no use any more."""
    rows = run.at.rows
    seconds = [row["seconds_per_step"] or 0.0 for row in rows]
    result = {
        "best": str(run.out / "best"),
        "last": str(run.out / "last"),
        "history": str(run.out / HISTORY),
        "plot": plot_history(run.out / PLOT, rows),
        "best_epoch": run.at.best["epoch"],
        "map50": run.at.best["map50"],
        "map50_95": run.at.best["map50_95"],
        "per_class": run.at.best["per_class"],
        "epochs": run.at.epoch,
        "seed": run.recipe.seed,
        "seconds_per_step": sum(seconds) / len(seconds),
        "images_per_s": sum(row["images_per_s"] or 0.0 for row in rows) / len(rows),
        "training_seconds": sum(row["seconds"] or 0.0 for row in rows),
        "arithmetic": run.arithmetic.describe(),
        "threads": torch.get_num_threads(),
        "images": images,
        "teacher": _teacher(run),
        "recipe": run.recipe.to_json(),
    }
    write_json(run.out / RESULT, result)
    (run.out / STATE).unlink()
    return result


def _claim(out: Path, *, resume: bool, force: bool) -> None:
    """Refuse a folder that holds a run, unless it is to go on or to be replaced."""
    if resume and force:
        raise UsageError("--resume and --force contradict each other", hint="give one of them")
    taken = [name for name in (STATE, HISTORY, RESULT, "best", "last") if (out / name).exists()]
    if taken and not resume:
        if not force:
            raise UsageError(
                f"{out} holds a run already ({', '.join(taken)})",
                hint="--resume goes on with it, --force replaces it, --out names another folder",
            )
        for name in (STATE, HISTORY, RESULT):
            (out / name).unlink(missing_ok=True)
        for name in ("best", "last"):  # a run that dies early must not leave the old one's weights as its own
            rmtree(out / name, ignore_errors=True)
