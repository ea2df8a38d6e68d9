"""Which cases of a sweep ``make test`` runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

CONFTEST = Path(__file__).resolve().parent / "conftest.py"


class Item:
    """A collected test as far as the hook of ``conftest.py`` reads it."""

    def __init__(self, nodeid: str, *default_cases: str) -> None:
        self.nodeid, self.default_cases = nodeid, default_cases
        self.added: list[str] = []

    def get_closest_marker(self, name: str) -> Any:
        assert name == "default_cases"
        return SimpleNamespace(args=self.default_cases) if self.default_cases else None

    def add_marker(self, marker: pytest.MarkDecorator) -> None:
        self.added.append(marker.name)


@pytest.fixture
def hook(pytestconfig: pytest.Config) -> Callable[..., None]:
    """What ``conftest.py`` does to collected tests, for these words of the command line."""
    plugins = pytestconfig.pluginmanager.get_plugins()
    (conftest,) = [p for p in plugins if getattr(p, "__file__", None) == str(CONFTEST)]

    def collect(*items: Item, words: tuple[str, ...] = ("tests",)) -> None:
        conftest.pytest_collection_modifyitems(config=SimpleNamespace(args=words), items=items)

    return collect


def test_the_cases_that_are_not_named_are_slow(hook: Callable[..., None]) -> None:
    named, other = Item("a.py::t[x[0]]", "x[0]"), Item("a.py::t[y]", "x[0]")
    plain = Item("a.py::u[y]")
    hook(named, other, plain)
    assert (named.added, other.added, plain.added) == ([], ["slow"], [])


def test_a_case_that_is_not_there_is_an_error(hook: Callable[..., None]) -> None:
    gone = Item("a.py::t[y]", "x")
    with pytest.raises(pytest.UsageError, match=r"a\.py::t has no case \['x'\]"):
        hook(gone)
    hook(gone, words=("a.py::t[y]",))  # the other cases were not asked for
