"""One cache for everything that can be made again."""

from pathlib import Path

import pytest

from distill.data.disk_cache import default_folder
from edgestill.cache import cache_folder, cache_root
from export.tensorrt.engine import engine_folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a cache, and no variable that names one."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_it_is_in_the_home_unless_the_variable_names_another_place(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_root() == home / ".cache" / "edgestill"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "elsewhere"))
    assert cache_root() == home / "elsewhere" / "edgestill"


def test_asking_where_it_is_creates_nothing(home: Path) -> None:
    assert cache_root() == home / ".cache" / "edgestill"
    assert default_folder() == cache_root() / "images"
    assert list(home.iterdir()) == []


def test_its_folders_are_for_this_user_only(home: Path) -> None:
    for folder in (cache_folder("calibration"), engine_folder(), cache_folder()):
        assert folder.is_relative_to(home)
        assert folder.stat().st_mode & 0o077 == 0
    assert sorted(folder.name for folder in cache_root().iterdir()) == ["calibration", "engines"]
