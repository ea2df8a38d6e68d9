"""The order of the trainings and the figures that are made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.profiling.against_ultralytics.compare import (
    OURS,
    TrainingRun,
    TrainingSpeed,
    alternate,
    kept,
    summary,
)


def outcome(*images_per_s: float, load: float | None = 0.5) -> TrainingSpeed:
    return TrainingSpeed(images_per_s=images_per_s, setup={"threads": 2}, load=load)


def test_every_round_runs_every_arm_in_a_folder_of_its_own(tmp_path: Path) -> None:
    order: list[str] = []
    folders: set[Path] = set()

    def arm(name: str) -> TrainingRun:
        def run(folder: Path) -> TrainingSpeed:
            assert folder.is_dir()
            order.append(name)
            folders.add(folder)
            return outcome(1, len(order))

        return run

    outcomes = alternate({OURS: arm("a"), "other": arm("b")}, 3, tmp_path)
    assert order == ["a", "b"] * 3
    assert len(folders) == 6
    assert [o.speed for o in outcomes["other"]] == [2, 4, 6]


def test_the_first_epoch_does_not_count() -> None:
    assert outcome(100, 3, 5, 4).speed == 4


def test_ratios_are_taken_within_a_round() -> None:
    # The machine was three times slower in the second round, for all.
    result = summary({OURS: [outcome(0, 30), outcome(0, 10)], "other": [outcome(0, 10), outcome(0, 4)]})
    assert result["times_as_fast_as"] == {"other": {"median": 2.75, "by_round": [3.0, 2.5]}}
    assert result["images_per_s"][OURS] == {"median": 20, "by_round": [30, 10]}
    assert result["setup"]["other"] == {"threads": 2}
    assert result["load"]["other"] == [0.5, 0.5]


def test_rounds_that_one_arm_missed_are_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        summary({OURS: [outcome(0, 30), outcome(0, 10)], "other": [outcome(0, 10)]})


def test_what_is_kept_beside_others_is_a_ratio_within_a_round() -> None:
    quiet, busy = [outcome(0, 30), outcome(0, 10)], [outcome(0, 15), outcome(0, 8)]
    assert kept({OURS: quiet}, {OURS: busy}) == {OURS: {"median": 0.65, "by_round": [0.5, 0.8]}}
