"""The size of each distillation term: ``python -m distill.profiling.term_size RECIPE --data DATA.yaml``.

Measures before the first step, for each method with its default settings: the sum of its terms divided by the
detection loss, and the norm of its gradient on the student's feature maps divided by that of the detection
loss. Prints medians over some batches as JSON. A weight divided by the second ratio makes a method count as
much as the detection loss.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from distill.data.loader import Batch, open_datasets
from distill.data.training_images import TrainingImages
from distill.models.feature_hooks import forward_features
from distill.profiling.first_batches import first_batches
from distill.recipe import METHODS, MethodConfig, Recipe
from distill.recipe_toml import load_recipe
from distill.training.setup import TrainingRun, build_run
from edgestill.errors import UsageError
from edgestill.files import to_json_text
from edgestill.progress import track


def term_sizes(recipe: Recipe, methods: Sequence[str] = (), *, batches: int = 4) -> dict[str, Any]:
    """Measure the terms of some methods on the first batches of a recipe's data, in float32.

    Args:
        recipe: Names a teacher; its own methods are not used.
        methods: Names of methods; all if empty.
        batches: Number of batches.

    Raises:
        UsageError: The recipe has no teacher, or a method cannot compare it with the student.
    """
    if not recipe.teacher_weights:
        raise UsageError(f"recipe {recipe.name} has no teacher", hint="--set teacher=runs/x/best")
    names = list(methods or METHODS.names())
    defaults = {name: MethodConfig(config=METHODS.load(name).Config()) for name in names}
    recipe = replace(recipe, methods=defaults, precision="fp32")
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    datasets = open_datasets([Path(path) for path in recipe.data])
    run = build_run(recipe, Path(), datasets[0].classes)
    measured = [
        _measure(run, batch)
        for batch in track(
            first_batches(run, TrainingImages(datasets, run.spec, cache_mib=0), batches), "measuring", batches
        )
    ]
    return {
        "recipe": recipe.name,
        "student": run.spec.name,
        "init": recipe.student.init,
        "teacher": run.teacher.info.name if run.teacher else None,
        "train_hw": list(recipe.train_hw),
        "batch": recipe.batch,
        "batches": len(measured),
        "detection_loss": median(one["detection"]["value"] for one in measured),
        "methods": {
            name: {
                "weight": defaults[name].config.weight,
                **{
                    key: median(one[name][key] / one["detection"][key] for one in measured)
                    for key in ("value", "gradient")
                },
            }
            for name in names
        },
    }


def _measure(run: TrainingRun, batch: Batch) -> Mapping[str, Mapping[str, float]]:
    """Value per image, and gradient norm, of the detection loss and of each method."""
    assert run.teacher is not None
    images = run.compute.images(batch.images, run.spec.scale)
    targets = batch.targets.to(run.compute.device)
    taught = run.teacher.forward_features(images, run.compute)
    student = forward_features(run.model, images, run.spec.head)
    maps = list(student.features.values())

    def size(loss: Tensor) -> Mapping[str, float]:
        gradients = torch.autograd.grad(loss, maps, retain_graph=True, allow_unused=True)
        norms = torch.stack([g.norm() for g in gradients if g is not None])
        return {"value": float(loss.detach()), "gradient": float(norms.norm())}

    found = {"detection": size(run.loss(student.raw, targets)[0] / len(images))}
    for name, method in run.method_losses.items():
        found[name] = size(torch.stack(list(method(student, taught, targets).values())).sum())
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m distill.profiling.term_size", description=__doc__)
    parser.add_argument("recipe", metavar="RECIPE", help="a shipped recipe's name, or a TOML file")
    parser.add_argument("--data", action="append", default=[], metavar="DATA.yaml")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--methods", nargs="+", default=[], metavar="NAME", help="default: all")
    parser.add_argument("--batches", type=int, default=4, help="batches that are measured")
    args = parser.parse_args(argv)
    recipe = load_recipe(args.recipe, args.settings, args.data)
    print(to_json_text(term_sizes(recipe, args.methods, batches=args.batches)))


if __name__ == "__main__":
    main()
