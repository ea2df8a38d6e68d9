"""On recorded noise a model is not told from itself, and a slowdown of 3 % is found.

``noise.npz`` holds times of the student beside itself in fresh processes, on a busy machine: ``busy`` as they
come, and ``quiet`` of the frames during which the kernel did not take the core away. See ``record_noise`` and
docs/results/comparisons.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.statistics import compare
from tests.benchmarks.statistics.record_noise import NOISE

TRIES, PROCESSES = 100, 8


@pytest.fixture(autouse=True)
def one_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recording has one time a frame."""
    monkeypatch.setattr(compare, "MEASURES", {"inference": ("inference",)})


@pytest.fixture(scope="module")
def noise() -> dict[str, NDArray[np.float32]]:
    """Milliseconds ``[pairs of processes, 2 arms, rounds, frames]`` by what else ran."""
    with np.load(NOISE, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def tries(blocks: NDArray[np.float32], scale: float, count: int) -> list[str]:
    """Verdicts on random pairs of processes of the recording; the second arm is made slower by ``scale``."""
    rng = np.random.default_rng(20)
    found = []
    for _ in range(count):
        drawn = blocks[rng.choice(len(blocks), PROCESSES)].astype(np.float64)
        a, b = (
            model(name, drawn[:, k] * factor) for k, (name, factor) in enumerate((("a", 1), ("b", scale)))
        )
        (comparison,) = compare.compare_models(a, b, paired=True)
        found.append(comparison["verdict"])
    return found


def model(name: str, times: NDArray[np.float64]) -> dict[str, Any]:
    """An entry of a bench result, of times ``[processes, rounds, frames]``."""
    processes, rounds, frames = times.shape
    return {
        "name": name,
        "samples_ms": {"inference": times.ravel()},
        "rounds": list(np.repeat(np.arange(processes * rounds), frames)),
        "processes": list(np.repeat(np.arange(processes), rounds * frames)),
    }


@pytest.mark.parametrize("name", ["quiet", "busy"])
def test_a_model_is_told_from_itself_in_at_most_five_of_a_hundred_tries(
    noise: dict[str, NDArray[np.float32]], name: str
) -> None:
    assert tries(noise[name], 1.0, TRIES).count("can't tell") >= 95


@pytest.mark.parametrize(("scale", "expected"), [(1.03, "slower"), (0.97, "faster")])
def test_three_percent_is_found_on_quiet_samples(
    noise: dict[str, NDArray[np.float32]], scale: float, expected: str
) -> None:
    assert tries(noise["quiet"], scale, TRIES // 2).count(expected) >= 45


def test_three_percent_is_never_taken_for_the_opposite(noise: dict[str, NDArray[np.float32]]) -> None:
    assert "faster" not in tries(noise["busy"], 1.03, TRIES // 2)


def test_the_recording_is_of_two_arms_and_enough_processes(noise: dict[str, NDArray[np.float32]]) -> None:
    assert set(noise) == {"quiet", "busy"}
    for blocks in noise.values():
        count, arms, rounds, _ = blocks.shape
        assert count >= compare.LEAST_PROCESSES
        assert arms == 2
        assert rounds >= compare.LEAST_ROUNDS
        assert float(blocks.min()) > 0
