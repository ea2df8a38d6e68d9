"""Every device file loads, names its sources, and a wrong one says which field."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices import profile
from edgestill.errors import DeviceError, UsageError

GOOD = """
title = "Board"
kind = "jetson"
memory_mib = 4096
backends = ["ort"]
precisions = ["fp32"]
sources = ["data sheet"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(profile, "FOLDER", tmp_path)
    return tmp_path


@pytest.mark.parametrize("key", profile.profile_names())
def test_every_profile_loads_and_says_where_its_facts_come_from(key: str) -> None:
    assert profile.load_profile(key).sources


@pytest.mark.parametrize("key", profile.profile_names())
def test_every_profile_but_the_generic_one_can_be_recognised(key: str) -> None:
    loaded = profile.load_profile(key)
    assert loaded.modules or loaded.gpu_names or loaded.key == "generic-x86"


def test_no_two_profiles_claim_the_same_module() -> None:
    modules = [module for p in profile.load_profiles() for module in p.modules]
    assert len(modules) == len(set(modules))


def test_int8_is_not_promised_where_the_gpu_has_none() -> None:
    assert "int8" not in profile.load_profile("jetson-nano").precisions


def test_an_unknown_key_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"(?s)jetson-nan0.*did you mean 'jetson-nano'"):
        profile.load_profile("jetson-nan0")


def test_a_good_file_loads(folder: Path) -> None:
    (folder / "board.toml").write_text(GOOD)
    assert profile.load_profile("board").memory_mib == 4096


def test_missing_and_unknown_fields_are_named(folder: Path) -> None:
    (folder / "board.toml").write_text(GOOD.replace("title", "heading"))
    with pytest.raises(DeviceError, match=r"board\.toml: missing or unknown: heading, title"):
        profile.load_profile("board")


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        pytest.param("4096", '"4 GB"', "memory_mib = '4 GB'", id="type"),
        pytest.param("4096", "true", "memory_mib = True", id="bool"),
        pytest.param('"jetson"', '"phone"', "kind = 'phone'", id="kind"),
        pytest.param('["ort"]', '["torch"]', r"backends = \['torch'\]", id="backend"),
        pytest.param('["fp32"]', '["int4"]', r"precisions = \['int4'\]", id="precision"),
        pytest.param('["data sheet"]', "[1]", r"sources = \[1\]", id="list-of-numbers"),
        pytest.param('["data sheet"]', "[]", "sources is empty", id="no-source"),
        pytest.param('"Board"', "Board", "is not TOML", id="no-toml"),
    ],
)
def test_a_wrong_value_is_named(folder: Path, good: str, bad: str, message: str) -> None:
    (folder / "board.toml").write_text(GOOD.replace(good, bad))
    with pytest.raises(DeviceError, match=message):
        profile.load_profile("board")
