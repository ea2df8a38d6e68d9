"""What ``--resume`` needs: plain tensors and text, so that loading runs no code of the file's author."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill.recipe import Recipe
from distill.training import distributed
from distill.training.setup import Run
from edgestill.errors import ArtifactError, UsageError
from edgestill.files import replacing, to_json_text

STATE = "state.pt"

#: Recipe keys that may change when a run goes on: they decide nothing about the weights of an epoch, but for
#: ``threads``, with which the order of additions and so the last digits change.
FREE_KEYS = (
    "patience",
    "save_every_steps",
    "loader_threads",
    "cache_mib",
    "disk_cache_mib",
    "disk_cache",
    "threads",
)


def save_state(run: Run) -> None:
    """Write the state of a run, whole or not at all. All processes of it call this together."""
    random = {name: distributed.from_all(state) for name, state in _random(run).items()}
    if not distributed.is_first():
        return
    state = {
        "recipe": to_json_text(run.recipe),
        "counters": to_json_text(asdict(run.at)),  # JSON keeps every digit of a float
        "model": run.model.state_dict(),
        "terms": run.terms.state_dict(),
        "ema": run.ema.model.state_dict(),
        "ema_updates": run.ema.updates,
        "optimiser": run.optimiser.state_dict(),
        "scaler": run.scaler.state_dict(),
        "random": random,
    }
    with replacing(run.out / STATE) as temporary:
        torch.save(state, temporary)


def load_state(run: Run) -> None:
    """Put a run where its state file says that it was.

    Raises:
        UsageError: The recipe or the number of processes is another one.
        ArtifactError: The file cannot be read.
    """
    path = run.out / STATE
    try:
        state = torch.load(path, map_location=run.compute.device, weights_only=True)  # noqa: TID251
        stored, counters = json.loads(state["recipe"]), json.loads(state["counters"])
    except Exception as error:  # torch raises a dozen types for a broken file
        raise ArtifactError(
            f"{path} is not a state that can be resumed: {error}", hint="start again with --force"
        ) from error
    _check_recipe(stored, run.recipe.to_json(), path)
    run.model.load_state_dict(state["model"])
    run.terms.load_state_dict(state["terms"])
    run.ema.model.load_state_dict(state["ema"])
    run.ema.updates = state["ema_updates"]
    run.optimiser.load_state_dict(state["optimiser"])
    run.scaler.load_state_dict(state["scaler"])
    _set_random(state["random"], path)
    for name, value in counters.items():
        setattr(run.at, name, value)


def _random(run: Run) -> dict[str, Tensor]:
    """The state of torch's generators that methods may draw from, by device."""
    states = {"cpu": torch.get_rng_state()}
    if run.compute.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _set_random(states: dict[str, list[Tensor]], path: Path) -> None:
    processes = len(states["cpu"])
    if processes != distributed.processes():
        raise UsageError(
            f"{path.parent} was begun in {processes} processes, these are {distributed.processes()}",
            hint=f"torchrun --nproc-per-node {processes} -m edgestill distill ... --resume",
        )
    torch.set_rng_state(states["cpu"][distributed.rank()].cpu())
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"][distributed.rank()].cpu())


def _check_recipe(stored: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    # A key that did not exist when the run began had its default: new keys change nothing by it.
    stored = _over(Recipe(name="").to_json(), stored)
    changed = [
        key
        for key in sorted(stored.keys() | wanted.keys())
        if key not in FREE_KEYS and stored.get(key) != wanted.get(key)
    ]
    if changed:
        raise UsageError(
            f"{path.parent} was begun with another recipe: {', '.join(changed)} differ",
            hint="resume with the same recipe and --set, or start again with --force",
        )


def _over(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """``given``, and the defaults of the keys that it lacks, in its tables too."""
    tables = {
        key: _over(value, given[key])
        for key, value in defaults.items()
        if isinstance(value, dict) and isinstance(given.get(key), dict)
    }
    return {**defaults, **given, **tables}
