"""The history of a training on disk and as a picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgestill.errors import DataError
from edgestill.history import Row, count_epochs, read_history, without_timing, write_history

ROWS: list[Row] = [
    {"epoch": 1, "lr": 0.01, "box": 0.1 + 0.2, "map50": None, "seconds": 3.0},
    {"epoch": 2, "lr": 0.005, "box": 1e-17, "map50": 0.5, "seconds": 3.1},
]


def test_what_is_written_is_read_to_the_last_digit(tmp_path: Path) -> None:
    write_history(tmp_path / "h.csv", ROWS)
    assert read_history(tmp_path / "h.csv") == ROWS


def test_a_column_that_comes_later_is_empty_before(tmp_path: Path) -> None:
    write_history(tmp_path / "h.csv", [{"epoch": 1}, {"epoch": 2, "cwd": 0.5}])
    assert [row["cwd"] for row in read_history(tmp_path / "h.csv")] == [None, 0.5]


def test_epochs_are_counted_without_the_file_being_parsed(tmp_path: Path) -> None:
    assert count_epochs(tmp_path / "h.csv") == 0
    write_history(tmp_path / "h.csv", [])
    assert count_epochs(tmp_path / "h.csv") == 0
    write_history(tmp_path / "h.csv", ROWS)
    assert count_epochs(tmp_path / "h.csv") == 2


def test_timing_is_not_part_of_what_repeats() -> None:
    assert set(without_timing(ROWS[0])) == {"epoch", "lr", "box", "map50"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(b"epoch,box\n1,None\n", "could not convert string to float", id="word"),
        pytest.param("epoch,box\n1,0.5\n".encode("utf-16"), "codec can't decode", id="utf-16"),
        pytest.param(b"epoch,box\n,0.5\n", "a row has no epoch", id="an-empty-epoch"),
        pytest.param(b"box,map50_95\n0.1,0.5\n", "a row has no epoch", id="no-epochs"),
        pytest.param(b"epoch,box\n1,0.5,0.25\n", "float", id="more-fields"),
        pytest.param(b'epoch,box\n1,"0.5\n', "unexpected end of data", id="open-quote"),
    ],
)
def test_a_damaged_history_is_named(data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_bytes(data)
    with pytest.raises(DataError, match=f"h.csv is not the history of a training: .*{why}"):
        read_history(tmp_path / "h.csv")


def test_a_missing_history_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"h\.csv does not exist"):
        read_history(tmp_path / "h.csv")


def test_a_byte_order_mark_of_an_editor_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_bytes(b"\xef\xbb\xbfepoch,box\n1,0.5\n")
    assert read_history(tmp_path / "h.csv") == [{"epoch": 1, "box": 0.5}]
