"""Run one edgestill verb and be killed, with SIGKILL, at a chosen moment: PLACE COUNT WORDS...

PLACE is ``step`` (behind the COUNT-th one), ``state`` or ``weights`` (when half of the COUNT-th such file is
written), or ``nowhere``. ``RANK`` in the environment, if it is there, must be the last of ``WORLD_SIZE``.
A training leaves no plots.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from distill import train
from distill.training import run_folder
from edgestill import checkpoint
from edgestill.cli.main import main


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at(count: int, do: Callable[..., Any], last: Callable[..., Any]) -> Callable[..., Any]:
    """What does ``do`` and, at the given call, ``last``."""
    left = count

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        return do(*args, **kwargs) if left else last(*args, **kwargs)

    return counted


def die_behind_step(*args: Any) -> None:
    step(*args)
    die()


def die_in_state(state: Any, path: Path) -> None:
    save(state, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    die()


def die_in_weights(path: Path, data: bytes) -> None:
    path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}").write_bytes(data[: len(data) // 2])
    die()


step, save, write = train.step, torch.save, checkpoint.write_bytes
run_folder.draw = lambda *_: {}
place, count, *words = sys.argv[1:]
if os.environ.get("RANK", "0") == str(int(os.environ.get("WORLD_SIZE", "1")) - 1):
    if place == "step":
        train.step = at(int(count), step, die_behind_step)
    elif place == "state":
        torch.save = at(int(count), save, die_in_state)
    elif place == "weights":
        checkpoint.write_bytes = at(int(count), write, die_in_weights)
sys.exit(main(words))
