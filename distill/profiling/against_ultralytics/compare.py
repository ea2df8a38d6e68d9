"""Interleaved execution of the trainings, and the summary of their speeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from edgestill.progress import say

OURS = "edgestill"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpeed:
    """One training.

    Attributes:
        images_per_s: Of each epoch, in order.
        setup: Its configuration.
        load: The machine's load when it began, see ``devices.linux``.
    """

    images_per_s: Sequence[float]
    setup: Mapping[str, Any]
    load: float | None

    @property
    def speed(self) -> float:
        """Images a second: median of the epochs after the first, in which caches fill and threads start."""
        return median(self.images_per_s[1:])


#: Runs one training in an empty folder.
TrainingRun = Callable[[Path], TrainingSpeed]


def alternate(arms: Mapping[str, TrainingRun], rounds: int, folder: Path) -> dict[str, list[TrainingSpeed]]:
    """Run every training in every round.

    Args:
        arms: The trainings by name.
        rounds: Number of rounds.
        folder: Parent of the folders of the trainings.
    """
    outcomes: dict[str, list[TrainingSpeed]] = {name: [] for name in arms}
    for number in range(rounds):
        for position, (name, run) in enumerate(arms.items()):
            place = folder / f"{number}-{position}"
            place.mkdir()
            outcomes[name].append(run(place))
            speed = outcomes[name][-1].speed
            say(f"round {number + 1} of {rounds}, {name}: {speed:.1f} images/s")
    return outcomes


def summary(outcomes: Mapping[str, Sequence[TrainingSpeed]]) -> dict[str, Any]:
    """Images a second by arm and round, and the ratio of ours to the others within each round."""
    ours = [outcome.speed for outcome in outcomes[OURS]]
    return {
        "times_as_fast_as": {
            name: _median_and_all([mine / other.speed for mine, other in zip(ours, several, strict=True)])
            for name, several in outcomes.items()
            if name != OURS
        },
        "images_per_s": {
            name: _median_and_all([outcome.speed for outcome in several])
            for name, several in outcomes.items()
        },
        "setup": {name: several[0].setup for name, several in outcomes.items()},
        "load": {name: [outcome.load for outcome in several] for name, several in outcomes.items()},
    }


def kept(
    quiet: Mapping[str, Sequence[TrainingSpeed]], busy: Mapping[str, Sequence[TrainingSpeed]]
) -> dict[str, Any]:
    """The part of its quiet speed that each arm keeps beside busy processes, within each round."""
    return {
        name: _median_and_all(
            [beside.speed / alone.speed for beside, alone in zip(busy[name], several, strict=True)]
        )
        for name, several in quiet.items()
    }


def _median_and_all(values: Sequence[float]) -> dict[str, Any]:
    return {"median": round(median(values), 2), "by_round": [round(value, 2) for value in values]}
