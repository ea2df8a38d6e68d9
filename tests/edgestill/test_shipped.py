"""Names of shipped weights, and what wins over them."""

from pathlib import Path

import pytest

from distill.teacher import weights_path
from edgestill.checkpoint import read_checkpoint
from edgestill.shipped import LIGHT_STATES, NAMES, SHIPPED, checkpoint_folder


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_a_checkpoint(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert checkpoint_folder(name) == SHIPPED / name
    assert read_checkpoint(checkpoint_folder(name)).spec.classes


def test_every_shipped_folder_has_a_name() -> None:
    assert sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()) == sorted(NAMES)


def test_light_states_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert checkpoint_folder(LIGHT_STATES) == SHIPPED / "light-states.onnx"
    assert checkpoint_folder(LIGHT_STATES).is_file()
    (tmp_path / "light-states").mkdir()
    assert checkpoint_folder(LIGHT_STATES) == Path("light-states")


def test_student_is_the_shipped_one_unless_something_here_has_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert checkpoint_folder("student").parent.name == "weights"
    (tmp_path / "student").mkdir()
    assert checkpoint_folder("student") == Path("student")


def test_a_recipe_looks_names_up_as_the_command_line_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert weights_path("teacher") == SHIPPED / "teacher"
    (tmp_path / "teacher").mkdir()
    assert weights_path("teacher") == Path("teacher")


@pytest.mark.parametrize("name", ["no/student", "other", "./student"])
def test_everything_else_is_a_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert checkpoint_folder(name) == Path(name)
