"""Whether the run of a folder may be continued with a recipe: what may change, and what is refused.

``epochs`` may change: from the next step on, learning rate, momentum and the methods' schedules are those of
a run of the new length at that epoch. Epochs that are done are not repeated, so a cosine that had ended
starts again from the value in its middle, and the result is not that of one run of the new length.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.recipe import METHODS, MethodConfig, Recipe
from distill.recipe_toml import completed
from edgestill.errors import UsageError
from edgestill.files import read_json, to_json_text
from edgestill.progress import say

#: Recipe keys that may differ when a run is resumed, because they do not affect the weights. ``threads``
#: changes the order of additions, hence the last digits.
RESUMABLE_CHANGES = (
    "patience",
    "save_every_steps",
    "loader_threads",
    "cache_mib",
    "disk_cache_mib",
    "disk_cache",
    "threads",
)
MISSING = "nothing"


def is_finished(recipe: Recipe, result: Path, state: Path) -> bool:
    """Whether a run with a result has nothing left to train under a recipe, which may have more epochs.

    Args:
        recipe: The recipe that is wanted now.
        result: The run's ``result.json``.
        state: Its training state, needed to continue it.

    Raises:
        UsageError: The recipe contradicts that of the run, or the run cannot be continued.
    """
    held = read_json(result, hint="train again with --force")
    check_recipe(held["recipe"], recipe, result.parent)
    done, planned = int(held["epochs"]), int(held["recipe"]["epochs"])
    stops = is_early_stop(recipe.patience, int(held["best_epoch"]), done)
    if recipe.epochs == planned and (done == planned or stops):
        return True
    check_epochs(recipe, planned, done, result.parent)
    if stops:
        raise UsageError(
            f"{result.parent} stopped early after epoch {done}: no better mAP since epoch "
            f"{held['best_epoch']}, and patience = {recipe.patience}",
            hint="--set patience=0, or a larger one, continues it",
        )
    if not state.is_file():
        raise UsageError(
            f"{result.parent} cannot be continued: it has no {state.name}",
            hint=f"start from its weights: --set student.init={result.parent / 'last'} --out another folder",
        )
    say(f"{result.parent}: {done} epochs are done, continuing to {recipe.epochs}")
    return False


def is_early_stop(patience: int, best_epoch: int, epoch: int) -> bool:
    """Whether early stopping ends a run after ``epoch`` epochs; patience 0 never does."""
    return bool(patience and best_epoch and epoch - best_epoch >= patience)


def check_epochs(recipe: Recipe, planned: int, done: int, folder: Path) -> None:
    """Refuse a new number of epochs that are done already.

    Raises:
        UsageError: The recipe's ``epochs`` differ from the planned ones and are not more than those done.
    """
    if recipe.epochs != planned and recipe.epochs <= done:
        raise UsageError(
            f"{folder} has trained {done} of {planned} epochs, and epochs = {recipe.epochs}",
            hint=f"--set epochs={done + 1} or more continues it; for fewer, --out names another folder",
        )


def check_recipe(stored: Mapping[str, Any], recipe: Recipe, folder: Path) -> None:
    """Refuse a recipe that differs from that of a run in more than ``RESUMABLE_CHANGES`` and ``epochs``.

    A key that is newer than the run counts as its default, so old runs can be resumed.

    Args:
        stored: The run's recipe as JSON data.
        recipe: The recipe that is wanted now.
        folder: The run folder.

    Raises:
        UsageError: It names the keys that differ, with both values.
    """
    before, now = _flat(_with_defaults(stored)), _flat(recipe.to_json())
    ignored = {*RESUMABLE_CHANGES, "epochs"}
    if recipe.student.auto_anchor and before.get("student.auto_anchor"):
        ignored.add("student.anchors_px")  # derived from the data
    changed = [
        f"{key} = {_text(now.get(key, MISSING))} (was {_text(before.get(key, MISSING))})"
        for key in sorted(before.keys() | now.keys())
        if key not in ignored and before.get(key, MISSING) != now.get(key, MISSING)
    ]
    if changed:
        raise UsageError(
            f"{folder} was started with another recipe: {', '.join(changed)}",
            hint="resume with the same recipe, --data and --set (only epochs may change), or start again "
            "with --force or another --out",
        )


def formulas(recipe: Recipe) -> dict[str, int]:
    """Version of the formula of each method of a recipe: ``FORMULA`` of its module, 1 without one."""
    return {name: getattr(METHODS.load(name), "FORMULA", 1) for name in recipe.methods}


def check_formulas(stored: Mapping[str, int], recipe: Recipe, folder: Path) -> None:
    """Refuse to continue a run whose methods compute another value than they did when it began.

    Raises:
        UsageError: It names the methods.
    """
    changed = [name for name, version in formulas(recipe).items() if stored.get(name, 1) != version]
    if changed:
        raise UsageError(
            f"{folder} was started with an earlier formula of {', '.join(changed)}, whose values differ",
            hint="finish the run with the version that began it, or start again with --force",
        )


def _with_defaults(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored recipe with all keys of today, also those of its methods."""
    whole = completed(stored, Recipe(name="").to_json())
    known = set(METHODS.names())
    methods = {
        name: completed(table, _plain(MethodConfig(config=METHODS.load(name).Config())))
        for name, table in whole["methods"].items()
        if name in known
    }
    return {**whole, "methods": {**whole["methods"], **methods}}


def _plain(value: Any) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(to_json_text(value))
    return table


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by the key that ``--set`` takes; a method's settings are beside its schedule."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            is_config = key == "config" and prefix.startswith("methods.")
            found |= _flat(value, prefix if is_config else f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _text(value: Any) -> str:
    return value if value == MISSING else json.dumps(value)
