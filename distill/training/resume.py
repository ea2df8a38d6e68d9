"""Training state for ``--resume``: tensors and JSON text only, so that loading it cannot execute code."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill.training import distributed
from distill.training.continuation import check_epochs, check_formulas, check_recipe, formulas
from distill.training.setup import TrainingRun
from edgestill.errors import ArtifactError, UsageError
from edgestill.files import replacing, to_json_text

STATE = "state.pt"


def save_state(run: TrainingRun) -> None:
    """Write the state of a run atomically. Every process must call this, because it gathers their states."""
    random = {name: distributed.all_gather(state) for name, state in _rng_states(run).items()}
    if not distributed.is_main_process():
        return
    state = {
        "recipe": to_json_text(run.recipe),
        "formulas": formulas(run.recipe),
        "counters": to_json_text(asdict(run.counters)),  # JSON keeps every digit of a float
        "model": run.model.state_dict(),
        "terms": run.method_losses.state_dict(),
        "ema": run.ema.model.state_dict(),
        "ema_updates": run.ema.updates,
        "optimiser": run.optimiser.state_dict(),
        "scaler": run.scaler.state_dict(),
        "random": random,
    }
    with replacing(run.folder / STATE) as temporary:
        torch.save(state, temporary)


def load_state(run: TrainingRun) -> None:
    """Restore a run from its state file.

    Raises:
        UsageError: The recipe (except for more epochs), a method's formula or the number of processes differs
            from that of the run.
        ArtifactError: The file cannot be read.
    """
    path = run.folder / STATE
    try:
        state = torch.load(path, map_location=run.compute.device, weights_only=True)  # noqa: TID251
        stored, counters = json.loads(state["recipe"]), json.loads(state["counters"])
    except Exception as error:  # torch raises a dozen types for a broken file
        raise ArtifactError(f"{path} cannot be resumed: {error}", hint="start again with --force") from error
    try:
        check_recipe(stored, run.recipe, path.parent)
        check_epochs(run.recipe, stored["epochs"], counters["epoch"], path.parent)
        check_formulas(state.get("formulas", {}), run.recipe, path.parent)
        _restore(run, state)
        _set_rng_states(state["random"], path)
        for name, value in counters.items():
            setattr(run.counters, name, value)
    except UsageError:
        raise
    except Exception as error:  # a part is missing, or is for another network
        raise ArtifactError(f"{path} cannot be resumed: {error}", hint="start again with --force") from error


def _restore(run: TrainingRun, state: dict[str, Any]) -> None:
    run.model.load_state_dict(state["model"])
    run.method_losses.load_state_dict(state["terms"])
    run.ema.model.load_state_dict(state["ema"])
    run.ema.updates = state["ema_updates"]
    run.optimiser.load_state_dict(state["optimiser"])
    run.scaler.load_state_dict(state["scaler"])


def _rng_states(run: TrainingRun) -> dict[str, Tensor]:
    """States of torch's random generators, by device; methods draw from them."""
    states = {"cpu": torch.get_rng_state()}
    if run.compute.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _set_rng_states(states: dict[str, list[Tensor]], path: Path) -> None:
    world_size = len(states["cpu"])
    if world_size != distributed.world_size():
        raise UsageError(
            f"{path.parent} was started with {world_size} processes, this run has {distributed.world_size()}",
            hint=f"torchrun --nproc-per-node {world_size} -m edgestill distill ... --resume",
        )
    torch.set_rng_state(states["cpu"][distributed.rank()].cpu())
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"][distributed.rank()].cpu())
