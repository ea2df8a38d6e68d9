"""Turns are kept as they end, and found again after a stop at any moment."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers.turn_store import TurnStore
from edgestill.errors import DataError


def filled(path: Path) -> TurnStore:
    store = TurnStore(path)
    for number in range(3):
        store.add_turn(number, "edgestill ov-fp32", "abc", {"time_ms": 10.0 + number}, "morning")
    store.add_conditions({"doubts": ["a doubt"]})
    return store


def test_a_turn_belongs_to_the_file_that_was_run(tmp_path: Path) -> None:
    filled(tmp_path / "turns.jsonl")
    again = TurnStore(tmp_path / "turns.jsonl")
    assert [turn["figures"]["time_ms"] for turn in again.turns("edgestill ov-fp32", "abc").values()] == [
        10,
        11,
        12,
    ]
    assert again.turns("edgestill ov-fp32", "of the file that was built anew") == {}
    assert again.turns("benchmark_app ov-fp32", "abc") == {}
    assert [piece["conditions"]["doubts"] for piece in again.conditions] == [["a doubt"]]


@given(cut=st.integers(1, 70))
def test_a_line_that_a_stop_cut_off_is_left_out_and_the_next_is_whole(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "turns.jsonl"
    filled(path).add_turn(3, "edgestill ov-fp32", "abc", {"time_ms": 13.0}, "evening")
    path.write_bytes(path.read_bytes()[:-cut])
    store = TurnStore(path)
    assert [*store.turns("edgestill ov-fp32", "abc")][:3] == [0, 1, 2]
    store.add_turn(4, "edgestill ov-fp32", "abc", {"time_ms": 14.0}, "evening")
    assert TurnStore(path).turns("edgestill ov-fp32", "abc")[4]["figures"]["time_ms"] == 14


def test_a_damaged_line_in_the_middle_is_told(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    filled(path)
    path.write_text("\n".join(["{}", *path.read_text().splitlines()]) + "\n")
    with pytest.raises(DataError, match="is damaged in line 1"):
        TurnStore(path)
