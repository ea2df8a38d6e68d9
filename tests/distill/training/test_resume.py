"""A training that is killed, again and again and at the worst moments, ends as if nothing had happened."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill.recipe import Recipe
from distill.recipe_toml import load_recipe
from distill.train import train
from distill.training.resume import STATE
from distill.training.run_folder import HISTORY
from edgestill.files import sha256_file
from edgestill.history import read_history, without_timing

SCRIPT = Path(__file__).parent.parent / "scripts" / "killed.py"


@pytest.fixture(scope="module")
def settings(recipe: Recipe) -> list[str]:
    """Adapters, trained blocks, random masks, blended samples: all that a state has to hold."""
    return [
        f"teacher={recipe.teacher}",
        "input_hw=[96, 160]",
        "train_hw=[64, 64]",
        "epochs=2",
        "batch=2",
        "eval_every=1",
        "save_every_steps=1",
        "threads=1",
        "device=cpu",
        "methods={fgfi={}, mgd={course='cosine'}}",
        "optimiser.flat=0.5",
        "augment.mixup.share=0.5",
        "augment_late={at=1, mosaic=0.0}",
    ]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "kills",
    [
        pytest.param([("state", 2)], id="once"),
        pytest.param(
            [("step", 3), ("state", 2), ("weights", 1), ("step", 5)], id="again", marks=pytest.mark.slow
        ),
    ],
)
def test_a_training_that_is_killed_and_resumed_ends_with_the_same_weights(
    kills: list[tuple[str, int]],
    settings: list[str],
    data: Path,
    tmp_path: Path,
    forked: Callable[..., Any],
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    flags = [word for setting in settings for word in ("--set", setting)]
    words = ["distill", "traffic-lights", "--data", data, "--out", broken, "--resume", *flags]
    train(load_recipe("traffic-lights", settings, [str(data)]), whole)

    for place, count in kills:
        (killed,) = forked(SCRIPT, place, count, *words)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (broken / "result.json").exists()
    (ended,) = forked(SCRIPT, "nowhere", 0, *words)
    assert ended.returncode == 0, ended.stderr

    histories = [[without_timing(row) for row in read_history(out / HISTORY)] for out in (whole, broken)]
    assert histories[0] == histories[1]
    for name in ("best", "last"):
        weights = f"{name}/model.safetensors"
        assert sha256_file(whole / weights) == sha256_file(broken / weights)
    assert not list(broken.glob(f".{Path(STATE).stem}.*")), "half a state is left over"


@pytest.mark.usefixtures("undrawn")
def test_what_a_killed_process_left_behind_is_cleared(
    settings: list[str], data: Path, tmp_path: Path
) -> None:
    left = tmp_path / ".state.4711.pt"
    left.write_bytes(b"half a state")
    short = load_recipe("traffic-lights", [*settings, "epochs=1", "methods={}"], [str(data)])
    train(short, tmp_path, resume=True)
    assert not left.exists()
