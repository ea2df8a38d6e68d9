"""The proposed command works from where the project came: a folder, a wheel, an address."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgestill import installation
from edgestill.installation import pip_command

ROOT = Path(installation.__file__).resolve().parent.parent
Installed = Callable[[Any], None]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Installed:
    """Makes the project one that pip installed, with a ``direct_url.json``."""
    monkeypatch.setattr(installation, "__file__", str(tmp_path / "site" / "edgestill" / "installation.py"))

    def believe(direct_url: Any) -> None:
        text = direct_url if isinstance(direct_url, str | None) else json.dumps(direct_url)
        found = SimpleNamespace(read_text=lambda name: text)
        monkeypatch.setattr(installation.metadata, "distribution", lambda name: found)

    return believe


def words(command: str) -> list[str]:
    return shlex.split(command)


def test_in_the_source_folder_it_is_a_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert pip_command("train") == "pip install -e '.[train]'"
    assert pip_command() == "pip install -e ."


def test_elsewhere_it_is_the_source_folders_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert words(pip_command("video")) == ["pip", "install", "-e", f"{ROOT}[video]"]


def test_a_wheel_is_named_with_the_extra(installed: Installed, tmp_path: Path) -> None:
    wheel = tmp_path / "my wheels" / "edgestill-0.3.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"")
    installed({"url": wheel.as_uri(), "archive_info": {}})
    assert words(pip_command("eval")) == ["pip", "install", f"{wheel}[eval]"]
    assert words(pip_command()) == ["pip", "install", str(wheel)]


def test_a_folder_that_was_installed_as_a_copy_is_named(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    installed({"url": tmp_path.as_uri(), "dir_info": {}})
    assert words(pip_command("eval")) == ["pip", "install", f"{tmp_path}[eval]"]


@pytest.mark.parametrize(
    ("direct_url", "wanted"),
    [
        ({"url": "https://a.b/c.whl", "archive_info": {}}, "edgestill[eval] @ https://a.b/c.whl"),
        (
            {"url": "https://a.b/c", "vcs_info": {"vcs": "git", "commit_id": "0"}},
            "edgestill[eval] @ git+https://a.b/c",
        ),
    ],
)
def test_an_address_is_named(installed: Installed, direct_url: Any, wanted: str) -> None:
    installed(direct_url)
    assert words(pip_command("eval")) == ["pip", "install", wanted]


@pytest.mark.parametrize(
    "direct_url",
    [None, "", "{", "[]", {"url": "file:///gone/x.whl"}, {"url": "file:///gone", "dir_info": {}}],
)
def test_without_a_place_the_libraries_themselves_are_named(
    installed: Installed, direct_url: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(direct_url)
    lines = ["numpy>=1", 'tomli>=2; python_version < "3.11" and extra == "a"', 'x>=1; extra == "a"']
    lines += ['edgestill[a]; extra == "b"', 'y; extra == "b"']
    monkeypatch.setattr(installation.metadata, "requires", lambda name: lines)
    assert words(pip_command("b")) == ["pip", "install", "y", "x>=1"]
    assert words(pip_command()) == ["pip", "install", "numpy>=1"]
