"""The measured size of distillation terms is that of the training step, and proportional to the weight."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.data.loader import Batch
from distill.methods import pkd, score_l2
from distill.profiling import term_size
from distill.recipe import MethodConfig, Recipe
from distill.training.setup import build_run
from distill.training.step import losses
from edgestill.errors import UsageError


def test_values_are_those_of_a_training_step(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of the loss as the training loop computes them, for the same batch."""
    seen: list[Batch] = []
    measure = term_size._measure
    monkeypatch.setattr(term_size, "_measure", lambda run, batch: seen.append(batch) or measure(run, batch))
    found = term_size.term_sizes(recipe, ["pkd", "score_l2"], batches=1)
    configs = {"pkd": pkd.Config(), "score_l2": score_l2.Config()}
    methods = {name: MethodConfig(config=config) for name, config in configs.items()}
    run = build_run(replace(recipe, methods=methods, precision="fp32"), tmp_path, ("red", "green"))
    _, parts = losses(run, seen[0], dict.fromkeys(methods, 1.0))
    detection = sum(float(parts[name]) for name in ("box", "obj", "cls"))
    assert found["detection_loss"] == pytest.approx(detection, rel=1e-4)
    for name in methods:
        value = sum(float(part) for key, part in parts.items() if key.startswith(name))
        assert found["methods"][name]["value"] == pytest.approx(value / detection, rel=1e-4)
        assert found["methods"][name]["weight"] == configs[name].weight  # type: ignore[attr-defined]


def test_a_gradient_is_that_of_the_feature_maps(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method whose loss is a tenth of the squared maps has the gradient of a fifth of the maps."""

    def loss(student: Any, *_: Any) -> Any:
        maps = list(student.features.values())
        sizes.append(float(torch.cat([m.detach().flatten() for m in maps]).norm()) / 5)
        return {"all": torch.stack([m.square().sum() for m in maps]).sum() / 10}

    sizes: list[float] = []
    monkeypatch.setattr(pkd.Loss, "forward", lambda _, *sides: loss(*sides))
    found = term_size.term_sizes(recipe, ["pkd"], batches=1)["methods"]["pkd"]["gradient"]
    monkeypatch.setattr(pkd.Loss, "forward", lambda _, *sides: {"all": 3 * loss(*sides)["all"]})
    assert term_size.term_sizes(recipe, ["pkd"], batches=1)["methods"]["pkd"]["gradient"] == pytest.approx(
        3 * found
    )
    assert sizes[0] == pytest.approx(sizes[1])
    assert found > 0


def test_the_command_prints_every_method(
    data: Path, teacher: Path, recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [
        f"teacher={teacher}",
        f"input_hw={list(recipe.input_hw)}",
        "train_hw=[64, 64]",
        "threads=1",
        "batch=4",
    ]
    flags = [word for setting in settings for word in ("--set", setting)]
    term_size.main(["traffic-lights", "--data", str(data), *flags, "--batches", "3"])
    found = json.loads(capsys.readouterr().out)
    assert found["batches"] == 3
    assert set(found["methods"]) == set(term_size.METHODS.names())
    assert all(one["value"] > 0 and one["gradient"] > 0 for one in found["methods"].values())


def test_a_recipe_without_a_teacher_is_refused(plain: Recipe) -> None:
    with pytest.raises(UsageError, match="no teacher"):
        term_size.term_sizes(plain)
