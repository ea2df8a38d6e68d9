"""The ratio of two models over several processes each, with an interval that covers both levels.

Times vary between the rounds of a process and between processes: each has an address layout of its own for as
long as it lives. The figure is the geometric mean, over the processes, of the ratio of their medians. The
bootstrap draws processes, and from each of them rounds, so that the interval is as wide as the level that
varies more makes it. If the processes were measured in pairs, a pair and its rounds are drawn for both models
together.

Source: Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013 (levels of repetition); Ren et
al., Nonparametric bootstrapping for hierarchical data, Journal of Applied Statistics 37(9), 2010 (draws of
all levels with replacement).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DataError

RESAMPLES = 2000
LEAST_PROCESSES = 5  # with fewer the interval is too narrow: see docs/results/comparisons.md

Rounds = Sequence[NDArray[np.float64]]


def by_process(rounds: Rounds, numbers: Sequence[int]) -> list[list[NDArray[np.float64]]]:
    """The rounds of each process.

    Args:
        rounds: Samples by round.
        numbers: The process of each round.
    """
    return [
        [samples for samples, number in zip(rounds, numbers, strict=True) if number == process]
        for process in sorted(set(numbers))
    ]


def process_of_rounds(model: Mapping[str, Any]) -> list[int]:
    """The process of each round of a bench result's model, in the order of the rounds; empty if one process.

    Raises:
        DataError: The numbers are not those of the samples.
    """
    if not model.get("processes"):
        return []
    found = dict(zip(model["rounds"], model["processes"], strict=False))
    if len(model["processes"]) != len(model["rounds"]):
        raise DataError(
            f"{len(model['processes'])} numbers of processes for {len(model['rounds'])} samples",
            hint="edgestill bench A B --processes 8 --out FILE writes them",
        )
    return [found[number] for number in sorted(found)]


def ratio_over_processes(
    a: Sequence[Rounds], b: Sequence[Rounds], *, paired: bool, confidence: float, seed: int = 0
) -> tuple[float, float, float]:
    """Ratio of b to a over their processes, and the bounds of its interval.

    Args:
        a: Samples by process and round, milliseconds.
        b: The same; as many processes and rounds as ``a`` if they are paired.
        paired: Whether processes and rounds of equal index were measured at the same time.
        confidence: Of the interval, in (0, 1).
        seed: Seed of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    drawn_a = _drawn_processes(len(a), rng)
    drawn_b = drawn_a if paired else _drawn_processes(len(b), rng)
    logs_a, logs_b = [], []
    for k in range(max(len(a), len(b))):
        rounds_a = _drawn_rounds(len(a[k]), rng) if k < len(a) else None
        if rounds_a is not None:
            logs_a.append(_log_medians(a[k], rounds_a))
        if k < len(b):
            rounds_b = rounds_a if paired and rounds_a is not None else _drawn_rounds(len(b[k]), rng)
            logs_b.append(_log_medians(b[k], rounds_b))
    # A process that is drawn twice gets other rounds each time: the draws of its rounds are rolled.
    places = np.arange(RESAMPLES)[:, None]
    differences = _rolled(np.asarray(logs_b), drawn_b, places) - _rolled(np.asarray(logs_a), drawn_a, places)
    tail = (1 - confidence) / 2
    low, high = (float(v) for v in np.exp(np.quantile(differences, (tail, 1 - tail))))
    return float(np.exp(_mean_log(b) - _mean_log(a))), low, high


def _drawn_processes(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.integers(0, count, (RESAMPLES, count))


def _drawn_rounds(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each round is drawn: ``[RESAMPLES, count]``."""
    return rng.multinomial(count, np.full(count, 1 / count), RESAMPLES)


def _log_medians(rounds: Rounds, drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Logarithm of the median of all samples of the drawn rounds: ``[RESAMPLES]``."""
    samples = np.concatenate(list(rounds))
    order = np.argsort(samples)
    samples = samples[order]
    round_of = np.repeat(np.arange(len(rounds)), [len(r) for r in rounds])[order]
    # A sample counts as often as its round was drawn, so that sorting once is enough.
    until = np.cumsum(drawn[:, round_of], axis=1)
    total = until[:, -1:]
    middle = [samples[np.argmax(until > half, axis=1)] for half in ((total - 1) // 2, total // 2)]
    return np.asarray(np.log((middle[0] + middle[1]) / 2), np.float64)


def _rolled(
    logs: NDArray[np.float64], drawn: NDArray[np.int64], places: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean over the drawn processes: ``[RESAMPLES]``, of ``logs`` ``[processes, RESAMPLES]``."""
    shifts = 7 * np.arange(drawn.shape[1])[None, :]
    return np.asarray(logs[drawn, (places + shifts) % RESAMPLES].mean(axis=1), np.float64)


def _mean_log(processes: Sequence[Rounds]) -> float:
    return float(np.mean([np.log(np.median(np.concatenate(list(rounds)))) for rounds in processes]))
