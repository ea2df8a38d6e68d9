"""A folder of modules is a list of choices."""

import sys
from pathlib import Path

import pytest

from edgestill.errors import DeviceError, UsageError
from edgestill.installation import pip_command
from edgestill.registry import Registry


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    package = tmp_path / "toolbox_of_a_test"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "hammer": "WEIGHT = 3",
        "_handle": "",
        "laser": "import a_library_that_nobody_has",
    }.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return Registry("toolbox_of_a_test", "tool", {"laser": "light"})


def test_the_public_modules_are_the_choices(shelf: Registry) -> None:
    assert shelf.names() == ("hammer", "laser")


def test_listing_imports_nothing(shelf: Registry) -> None:
    shelf.names()
    assert "toolbox_of_a_test.hammer" not in sys.modules


def test_a_choice_is_loaded_by_its_name(shelf: Registry) -> None:
    assert shelf.load("hammer").WEIGHT == 3


def test_a_wrong_name_gets_a_suggestion(shelf: Registry) -> None:
    with pytest.raises(UsageError, match="no tool is called 'hamer'") as caught:
        shelf.load("hamer")
    assert caught.value.hint == "did you mean 'hammer'?"


def test_a_missing_library_names_its_extra(shelf: Registry) -> None:
    with pytest.raises(DeviceError, match="a_library_that_nobody_has") as caught:
        shelf.load("laser")
    assert caught.value.hint == pip_command("light")
