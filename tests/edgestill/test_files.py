"""Files are whole or absent."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgestill.errors import DataError, UsageError
from edgestill.files import (
    read_json,
    refuse_overwrite,
    remove_leftovers,
    replacing,
    safe_file_name,
    sha256_file,
    temporary_beside,
    to_json_text,
    write_bytes,
    write_json,
)
from edgestill.spec import TensorSpec


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b.bin", b"x")
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"x"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    writing = replacing(target)
    writing.__enter__().write_text("half")
    writing.__exit__(RuntimeError, RuntimeError(), None)
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]
    assert target.read_text() == "old"


def test_the_temporary_file_keeps_the_suffix(tmp_path: Path) -> None:
    assert temporary_beside(tmp_path / "clip.mp4").suffix == ".mp4"


def test_an_existing_file_is_refused_without_force(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(UsageError, match="exists already") as caught:
        refuse_overwrite(tmp_path / "x", force=False)
    assert "--force" in caught.value.hint


def test_force_replaces(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    write_bytes(tmp_path / "x", b"new", force=True)
    assert (tmp_path / "x").read_bytes() == b"new"


def test_our_types_have_a_json_form(tmp_path: Path) -> None:
    value = {
        "path": Path("a/b"),
        "number": np.float32(0.5),
        "list": np.arange(2),
        "tensor": TensorSpec(name="x", shape=(1, None), dtype="float32"),
    }
    write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "path": "a/b",
        "number": 0.5,
        "list": [0, 1],
        "tensor": {"name": "x", "shape": [1, None], "dtype": "float32"},
    }


def test_what_has_no_json_form_is_said() -> None:
    with pytest.raises(TypeError, match="no JSON form for object"):
        to_json_text(object())


def test_a_missing_json_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as caught:
        read_json(tmp_path / "x.json", hint="make it")
    assert caught.value.hint == "make it"


def test_broken_json_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(DataError, match="not readable JSON"):
        read_json(tmp_path / "x.json", hint="make it again")


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("length", [5, 200, 243, 244, 250, 255])
def test_a_file_with_a_name_of_any_legal_length_is_written(length: int, tmp_path: Path) -> None:
    path = tmp_path / ("x" * (length - 4) + ".txt")
    write_bytes(path, b"text")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_left_over_of_a_long_name_is_found(tmp_path: Path) -> None:
    path = tmp_path / ("[x]" * 83 + ".json")
    temporary_beside(path).write_bytes(b"")
    remove_leftovers(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("red", "red"),
        ("a/b:c", "a_b_c"),
        ("..", "_"),
        ("", "_"),
        (" tail. ", "tail"),
        ("NUL.txt", "_NUL.txt"),
        ("红灯", "红灯"),
        ("a\nb\x00", "a_b_"),
        ("e\u0301", "é"),
    ],
)
def test_a_text_is_made_a_name_of_a_file(text: str, name: str) -> None:
    assert safe_file_name(text) == name


def test_a_file_system_in_ascii_gets_the_numbers_of_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    assert safe_file_name("红 grün") == "_u7ea2 gr_xfcn"


def test_long_texts_get_names_that_differ() -> None:
    names = {safe_file_name("灯" * 200 + end) for end in ("", "a", "b")}
    assert len(names) == 3
    assert all(len(name.encode()) <= 100 for name in names)
