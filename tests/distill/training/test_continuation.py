"""More epochs for a run: a finished one, an interrupted one, one that stopped early; and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest
import torch

from distill import train
from distill.methods import pkd
from distill.recipe import Recipe
from distill.training.continuation import check_recipe, is_finished
from distill.training.resume import STATE
from distill.training.run_folder import HISTORY, RESULT
from distill.training.setup import TrainingRun
from edgestill.errors import UsageError
from edgestill.files import read_json, sha256_file, write_json
from edgestill.history import Row, read_history, without_timing

pytestmark = pytest.mark.usefixtures("undrawn_module")
WEIGHTS = "last/model.safetensors"


@pytest.fixture(scope="module")
def short(recipe: Recipe) -> Recipe:
    """Two epochs of two steps without a teacher."""
    return replace(recipe, methods={}, teacher="", epochs=2, eval_every=1)


@pytest.fixture(scope="module")
def finished(undrawn_module: None, short: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "short"
    train.train(short, out)
    return out


@pytest.fixture
def again(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def rows(out: Path) -> list[Row]:
    return [without_timing(row) for row in read_history(out / HISTORY)]


def die_after(saves: int) -> Callable[[TrainingRun], None]:
    """A ``save_state`` that is interrupted after some calls."""
    left = saves
    original = train.save_state

    def save(run: TrainingRun) -> None:
        nonlocal left
        original(run)
        left -= 1
        if not left:
            raise KeyboardInterrupt

    return save


def last_rate(recipe: Recipe, epoch: int) -> float:
    """The rate of an epoch's last step after the warm-up, two steps an epoch: the cosine of the whole run."""
    done = (2 * epoch - 1) / (2 * recipe.epochs)
    lr, final = recipe.optimiser.lr, recipe.optimiser.final
    warm = min(1.0, (2 * epoch - 1) / round(2 * recipe.optimiser.warmup_epochs or 1))
    return warm * lr * (final + (1 - final) * (1 + cos(pi * done)) / 2)


@pytest.mark.default_cases("5")
@pytest.mark.parametrize("epochs", [3, 5])
def test_a_finished_run_gets_more_epochs_with_the_schedule_of_the_new_length(
    epochs: int, short: Recipe, again: Path
) -> None:
    longer, before = replace(short, epochs=epochs), rows(again)
    result = train.train(longer, again, resume=True)
    assert (result["epochs"], result["recipe"]["epochs"]) == (epochs, epochs)
    assert rows(again)[:2] == before
    for row in rows(again)[2:]:
        assert row["epoch"] is not None
        assert row["lr"] == pytest.approx(last_rate(longer, int(row["epoch"])))


@pytest.mark.slow
def test_it_is_the_same_to_the_bit_if_it_is_interrupted_on_the_way(
    short: Recipe, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = replace(short, epochs=4)
    whole, broken = (Path(shutil.copytree(finished, tmp_path / name)) for name in ("whole", "broken"))
    train.train(longer, whole, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(train, "save_state", die_after(1))
        with pytest.raises(KeyboardInterrupt):
            train.train(longer, broken, resume=True)
    assert not (broken / RESULT).exists(), "the result of the shorter run is not that of this one"
    train.train(longer, broken, resume=True)
    assert rows(broken) == rows(whole)
    assert sha256_file(broken / WEIGHTS) == sha256_file(whole / WEIGHTS)


@pytest.mark.slow
def test_an_interrupted_run_gets_more_epochs_or_fewer(
    short: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = replace(short, epochs=4)
    with monkeypatch.context() as patch:
        patch.setattr(train, "save_state", die_after(2))
        with pytest.raises(KeyboardInterrupt):
            train.train(planned, tmp_path)
    for epochs in (1, 2):
        with pytest.raises(UsageError, match=rf"trained 2 of 4 epochs, and epochs = {epochs}\n.*epochs=3 or"):
            train.train(replace(short, epochs=epochs), tmp_path, resume=True)
    ended = replace(short, epochs=3)
    assert train.train(ended, tmp_path, resume=True)["epochs"] == 3
    assert rows(tmp_path)[-1]["lr"] == pytest.approx(last_rate(ended, 3))


@pytest.mark.parametrize("epochs", [1])
def test_fewer_epochs_than_a_finished_run_has_are_refused(epochs: int, short: Recipe, again: Path) -> None:
    with pytest.raises(UsageError, match=r"trained 2 of 2 epochs, and epochs = 1\n.*epochs=3 or more"):
        train.train(replace(short, epochs=epochs), again, resume=True)
    assert (again / RESULT).is_file()


def test_the_same_recipe_leaves_a_finished_run_as_it_is(short: Recipe, again: Path) -> None:
    before = {path: sha256_file(path) for path in again.rglob("*") if path.is_file()}
    train.train(replace(short, patience=7, loader_threads=1), again, resume=True)
    assert {path: sha256_file(path) for path in again.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch": 2}, r"recipe: batch = 2 \(was 4\)\n"),
        ({"seed": 3, "epochs": 9}, r"recipe: seed = 3 \(was 0\)\n"),
        ({"train_hw": (96, 64)}, r"recipe: train_hw = \[96, 64\] \(was \[64, 64\]\)\n"),
    ],
    ids=str,
)
def test_other_keys_that_contradict_a_finished_run_are_named(
    change: dict[str, Any], named: str, short: Recipe, again: Path
) -> None:
    with pytest.raises(UsageError, match=named):
        train.train(replace(short, **change), again, resume=True)


def test_settings_of_a_method_are_named_as_set_takes_them(recipe: Recipe, tmp_path: Path) -> None:
    stored = json.loads(json.dumps(recipe.to_json()))
    stored["methods"]["cwd"]["config"]["weight"] += 1
    del stored["methods"]["logits"]["config"]["temperature"]  # a key that is newer than the run
    with pytest.raises(UsageError, match=r"another recipe: methods\.cwd\.weight = \S+ \(was \S+\)\n"):
        check_recipe(stored, recipe, tmp_path)
    with pytest.raises(UsageError, match=r"methods\.cwd\.weight = nothing \(was .*teacher = \"\" \(was "):
        check_recipe(recipe.to_json(), replace(recipe, methods={}, teacher=""), tmp_path)


@pytest.mark.parametrize(
    ("epochs", "patience", "expected"),
    [(9, 2, True), (9, 3, False), (9, 0, False), (12, 2, "patience = 2"), (12, 0, False), (5, 0, "5 of 9")],
)
def test_a_run_that_stopped_early_goes_on_with_more_patience(
    epochs: int, patience: int, expected: bool | str, short: Recipe, tmp_path: Path
) -> None:
    held = {"recipe": replace(short, epochs=9, patience=2).to_json(), "epochs": 5, "best_epoch": 3}
    write_json(tmp_path / RESULT, held)
    (tmp_path / STATE).touch()
    wanted = replace(short, epochs=epochs, patience=patience)
    if isinstance(expected, bool):
        assert is_finished(wanted, tmp_path / RESULT, tmp_path / STATE) is expected
    else:
        with pytest.raises(UsageError, match=expected):
            is_finished(wanted, tmp_path / RESULT, tmp_path / STATE)


def test_a_run_without_its_state_cannot_go_on(short: Recipe, again: Path) -> None:
    (again / STATE).unlink()
    with pytest.raises(UsageError, match=r"has no state.pt\n.*student.init=.*last"):
        train.train(replace(short, epochs=5), again, resume=True)
    assert train.train(short, again, resume=True) == read_json(again / RESULT, hint="")


def test_a_method_that_computes_another_value_now_is_named(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = replace(recipe, epochs=1, methods={"pkd": replace(recipe.methods["cwd"], config=pkd.Config())})
    with monkeypatch.context() as patch:
        patch.setattr(train, "save_state", die_after(1))
        with pytest.raises(KeyboardInterrupt):
            train.train(taught, tmp_path)
    state = torch.load(tmp_path / STATE, weights_only=True)  # noqa: TID251
    assert state.pop("formulas") == {"pkd": pkd.FORMULA}
    torch.save(state, tmp_path / STATE)  # as the versions wrote it that had no such entry
    with pytest.raises(UsageError, match="earlier formula of pkd"):
        train.train(taught, tmp_path, resume=True)


def test_a_run_of_a_study_keeps_no_state(short: Recipe, tmp_path: Path) -> None:
    result = train.train(replace(short, epochs=1), tmp_path, keep_state=False)
    assert result["files"] == sorted(str(path) for path in tmp_path.rglob("*") if path.is_file())
    assert not (tmp_path / STATE).exists()
