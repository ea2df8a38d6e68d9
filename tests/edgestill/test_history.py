"""The history of a training on disk and as a picture."""

from __future__ import annotations

from pathlib import Path

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
