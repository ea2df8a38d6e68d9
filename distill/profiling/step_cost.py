"""The cost of distillation in a step: ``python -m distill.profiling.step_cost RECIPE --data DATA.yaml``.

Measures in interleaved rounds, so that other load affects all alike: a step of the student alone, a
forward pass of the teacher alone, and a step of the student that is distilled. Prints the medians, and the
median and the quartiles over the rounds of

    ratio = distilled / (plain + teacher)

as JSON. The excess over 1 is the cost of the losses, their gradients and the adapters.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

from distill.training.process_settings import prepare_process

prepare_process()  # as `edgestill distill` does, before torch is imported

import torch

from distill.data.loader import Batch, open_datasets
from distill.data.training_images import TrainingImages
from distill.profiling.first_batches import first_batches
from distill.recipe import Recipe
from distill.recipe_toml import load_recipe
from distill.training.setup import TrainingRun, build_run
from distill.training.step import step
from edgestill.errors import UsageError
from edgestill.files import to_json_text
from edgestill.progress import track

WARM_UP = 12  # rounds; before it, page faults make a step on a CPU up to twice as long


def cost(recipe: Recipe, *, rounds: int = 20) -> dict[str, Any]:
    """Measure a recipe on the first batch of its data.

    Args:
        recipe: Names a teacher and methods.
        rounds: Number of measurements.

    Raises:
        UsageError: The recipe has no methods.
    """
    if not recipe.methods:
        raise UsageError(
            f"recipe {recipe.name} has no distillation methods", hint="name a recipe with methods"
        )
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    datasets = open_datasets([Path(path) for path in recipe.data])
    run = build_run(recipe, Path(), datasets[0].classes)
    batch = first_batches(run, TrainingImages(datasets, run.spec, cache_mib=0), 1)[0]
    samples = _measure(_parts(run, batch), rounds, run.compute.device)
    found = {f"{name}_ms": 1000 * median(times) for name, times in samples.items()}
    ratios = [d / (p + t) for p, t, d in zip(*samples.values(), strict=True)]
    low, middle, high = quantiles(ratios, n=4)
    return {
        "recipe": recipe.name,
        "methods": list(recipe.methods),
        "student": run.spec.name,
        "teacher": run.teacher.info.name if run.teacher else None,
        "train_hw": list(recipe.train_hw),
        "batch": len(batch.images),
        "arithmetic": run.compute.describe(),
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        **found,
        "ratio": middle,
        "ratio_quartiles": [low, high],
    }


def _parts(run: TrainingRun, batch: Batch) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    teacher, compute = run.teacher, run.compute
    assert teacher is not None
    images = compute.images(batch.images, run.spec.scale)

    def teacher_forward() -> object:
        with torch.no_grad(), compute.autocast():
            return teacher.model(images)

    return {
        "plain": lambda: step(run, batch, {}),
        "teacher": teacher_forward,
        "distilled": lambda: step(run, batch, dict.fromkeys(run.recipe.methods, 1.0)),
    }


def _measure(
    parts: dict[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each part in each round."""
    samples: dict[str, list[float]] = {name: [] for name in parts}
    for number in track(range(WARM_UP + rounds), "measuring", WARM_UP + rounds):
        for name, do in parts.items():
            begin = perf_counter()
            do()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number >= WARM_UP:
                samples[name].append(perf_counter() - begin)
    return samples


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m distill.profiling.step_cost", description=__doc__)
    parser.add_argument("recipe", metavar="RECIPE", help="a shipped recipe's name, or a TOML file")
    parser.add_argument("--data", action="append", default=[], metavar="DATA.yaml")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=20, help="measurements of each part")
    args = parser.parse_args(argv)
    print(to_json_text(cost(load_recipe(args.recipe, args.settings, args.data), rounds=args.rounds)))


if __name__ == "__main__":
    main()
