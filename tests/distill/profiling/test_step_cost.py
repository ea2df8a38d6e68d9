"""The measurement of what distillation adds to a step: that it measures the three parts, and says what."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from distill.profiling import step_cost
from distill.recipe import Recipe
from edgestill.errors import UsageError


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_cost, "WARM_UP", 1)


@pytest.mark.slow
def test_every_round_gives_a_ratio(recipe: Recipe) -> None:
    found = step_cost.cost(recipe, rounds=3)
    low, high = found["ratio_quartiles"]
    assert 0 < low <= found["ratio"] <= high
    assert min(found[f"{part}_ms"] for part in ("plain", "teacher", "distilled")) > 0
    assert sorted(found["methods"]) == ["cwd", "logits"]
    assert (found["batch"], found["rounds"], found["threads"]) == (4, 3, 1)


def test_a_recipe_without_methods_has_no_such_cost(plain: Recipe) -> None:
    with pytest.raises(UsageError, match="has no distillation methods"):
        step_cost.cost(replace(plain, methods={}))


def test_the_command_prints_json(
    data: Path, teacher: Path, recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"teacher={teacher}", f"input_hw={list(recipe.input_hw)}", "train_hw=[64, 64]", "threads=1"]
    flags = [word for setting in settings for word in ("--set", setting)]
    step_cost.main(["traffic-lights", "--data", str(data), *flags, "--rounds", "2"])
    assert json.loads(capsys.readouterr().out)["recipe"] == "traffic-lights"
