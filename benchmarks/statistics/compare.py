"""Which of two models is faster, and whether the difference is significant.

The figure is the ratio of medians, B over A, with a bootstrap interval over whole rounds: consecutive samples
are correlated, so that resampling single ones would give too narrow an interval. If the models were measured
alternately in one process, a round is drawn for both together, so that common disturbances cancel. If each
was measured in several processes, see ``benchmarks.statistics.process_ratio``.

Source: Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013 (ratios with bootstrap
intervals); Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.statistics.conditions import Explanation, find_differences, find_explanations
from benchmarks.statistics.process_ratio import (
    LEAST_PROCESSES,
    by_process,
    process_of_rounds,
    ratio_over_processes,
)
from edgestill.errors import DataError, UsageError

CONFIDENCE = 0.95
RESAMPLES = 2000
HINT = "edgestill bench MODEL --out FILE writes one"
LEAST_BUILDS = 2  # engine files of a model
LEAST_ROUNDS = 8  # with fewer the bootstrap interval is too narrow

#: Differences below this are ignored, even if significant.
PAIRED_MARGIN = 0.01
#: The same for separate runs: two processes with one model differ by this much.
SEPARATE_MARGIN = 0.05
#: The same where an arm is one TensorRT engine: FP16 builds of one network differ by this much.
#: Source: https://github.com/ultralytics/ultralytics/pull/26223
BUILD_MARGIN = 0.04

MEASURES = {"frame": ("decode", "letterbox", "inference", "postprocess"), "inference": ("inference",)}


def compare_models(a: Mapping[str, Any], b: Mapping[str, Any], *, paired: bool) -> list[dict[str, Any]]:
    """Compare two models of bench results: time of whole frames, and of inference alone.

    Args:
        a: The reference, an entry of ``models``.
        b: The model that is compared with it.
        paired: Whether both were measured alternately in one process.

    Returns:
        One comparison for each of ``MEASURES``. ``reason`` is why its verdict is ``can't tell``, else None.

    Raises:
        DataError: One of them has no samples.
    """
    margin = margin_of(a, b, paired=paired)
    found = []
    for measure, stages in MEASURES.items():
        ratio = _ratio(a, b, stages, paired=paired)
        decided, why = _decide(ratio, margin)
        explained = [] if paired else find_explanations(a, b, measure)
        if explained and decided != "can't tell" and not _beyond(explained, ratio.low, ratio.high, margin):
            decided, why = "can't tell", "; ".join(explanation.reason for explanation in explained)
        found.append(
            {
                "a": a["name"],
                "b": b["name"],
                "measure": measure,
                "a_ms": round(ratio.a_ms, 3),
                "b_ms": round(ratio.b_ms, 3),
                "a_samples": ratio.samples[0],
                "b_samples": ratio.samples[1],
                "ratio": round(ratio.ratio, 4),
                "low": round(ratio.low, 4),
                "high": round(ratio.high, 4),
                "confidence": CONFIDENCE,
                "paired": paired,
                "processes": ratio.processes,
                "verdict": decided,
                "reason": why if decided == "can't tell" else None,
                "margin": margin,
            }
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ratio:
    """The ratio of two models, and what it comes from.

    Attributes:
        ratio: b over a.
        low: Lower bound of its interval.
        high: Upper bound.
        a_ms: Median of all samples of a.
        b_ms: Median of all samples of b.
        samples: Number of samples of a and of b.
        processes: Processes of each, the smaller number; None if there was one.
        few: Why there is too little for a verdict; None if there is enough.
    """

    ratio: float
    low: float
    high: float
    a_ms: float
    b_ms: float
    samples: tuple[int, int]
    processes: int | None
    few: str | None


def _ratio(a: Mapping[str, Any], b: Mapping[str, Any], stages: Sequence[str], *, paired: bool) -> _Ratio:
    """The ratio of the sums of some stages, over processes where both have several."""
    sides = [rounds_of(model, stages) for model in (a, b)]
    numbers = [process_of_rounds(model) for model in (a, b)]
    processes = min(len(set(of_side)) for of_side in numbers) or None
    if processes is None:
        bounds = ratio_of_medians(*sides, paired=paired)
        few = _too_few(*sides)
    else:
        first, second = (by_process(*side) for side in zip(sides, numbers, strict=True))
        bounds = ratio_over_processes(first, second, paired=paired, confidence=CONFIDENCE)
        few = _too_few_processes(processes) or _too_few(*sides)
    a_ms, b_ms = (float(np.median(np.concatenate(side))) for side in sides)
    counts = (sum(map(len, sides[0])), sum(map(len, sides[1])))
    ratio, low, high = bounds
    return _Ratio(
        ratio=ratio, low=low, high=high, a_ms=a_ms, b_ms=b_ms, samples=counts, processes=processes, few=few
    )


def _decide(ratio: _Ratio, margin: float) -> tuple[str, str]:
    """The verdict, and why it would be ``can't tell``."""
    if ratio.few:
        return "can't tell", ratio.few
    wide = f"the interval {ratio.low:.3f} to {ratio.high:.3f} is not beyond {1 - margin:g} or {1 + margin:g}"
    if margin == BUILD_MARGIN:
        wide += "; one engine for each model, and builds of one network differ as much: --build"
    return verdict(ratio.low, ratio.high, margin), wide


def margin_of(a: Mapping[str, Any], b: Mapping[str, Any], *, paired: bool) -> float:
    """The difference below which two models are not told apart, as a fraction."""
    if not paired:
        return SEPARATE_MARGIN
    is_one_build = any(m.get("backend") == "trt" and m.get("builds", 1) < LEAST_BUILDS for m in (a, b))
    return BUILD_MARGIN if is_one_build and a.get("sha256") != b.get("sha256") else PAIRED_MARGIN


def _beyond(explained: Sequence[Explanation], low: float, high: float, margin: float) -> bool:
    """Whether a difference is left after the largest that the conditions explain."""
    most, least = max(e.high for e in explained), min(e.low for e in explained)
    return low > most * (1 + margin) or high < least * (1 - margin)


def _too_few(first: Sequence[NDArray[np.float64]], second: Sequence[NDArray[np.float64]]) -> str | None:
    """Why there are too few rounds for a verdict; None if there are enough."""
    count = min(len(first), len(second))
    if count >= LEAST_ROUNDS:
        return None
    return f"{count} rounds of samples are too few for the interval, {LEAST_ROUNDS} are needed: --min-samples"


def _too_few_processes(count: int) -> str | None:
    if count >= LEAST_PROCESSES:
        return None
    return f"{count} processes are too few for the interval, {LEAST_PROCESSES} are needed: --processes"


def compare_results(
    a: Mapping[str, Any], b: Mapping[str, Any], *, names: tuple[str, str] = ("A", "B")
) -> dict[str, Any]:
    """Compare two bench results: their only models, or the models of equal name.

    Args:
        a: The baseline.
        b: The result that is compared with it.
        names: Their files, for the messages.

    Raises:
        DataError: One of them is not a result of bench.
        UsageError: They have no model in common.
    """
    for result, name in zip((a, b), names, strict=True):
        refuse_other_results(result, name)
    try:
        pairs = _pairs(a["models"], b["models"], names)
        comparisons = [c for first, second in pairs for c in compare_models(first, second, paired=False)]
        return {"kind": "compare", "comparisons": comparisons, "doubts": find_differences(a, b, pairs)}
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(
            f"{names[0]} or {names[1]} lacks a part or was changed: {error!r}", hint=HINT
        ) from error


def refuse_other_results(result: object, name: str) -> None:
    """Raise DataError, with the name of the file, if this is not a result of bench with samples."""
    kind = result.get("kind") if isinstance(result, Mapping) else type(result).__name__
    models = result.get("models") if isinstance(result, Mapping) else None
    models = models if isinstance(models, list) else []
    is_named = [isinstance(m, Mapping) and isinstance(m.get("name"), str) for m in models]
    if kind != "bench" or not models or not all(is_named):
        raise DataError(f"{name} is not a result of bench (kind {kind!r})", hint=HINT)
    for model, stages in product(models, MEASURES.values()):
        rounds_of(model, stages, name)


def ratio_of_medians(
    a: Sequence[NDArray[np.float64]], b: Sequence[NDArray[np.float64]], *, paired: bool, seed: int = 0
) -> tuple[float, float, float]:
    """Median of b over median of a, and the bounds of its interval.

    Args:
        a: Samples by round.
        b: Samples by round; as many rounds as ``a`` if they are paired.
        paired: Whether rounds of equal index were measured at the same time.
        seed: Seed of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    median_a, median_b = _medians(a), _medians(b)
    ratios = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        drawn_a = rng.integers(0, len(a), len(a))
        drawn_b = drawn_a if paired else rng.integers(0, len(b), len(b))
        ratios[k] = median_b(drawn_b) / median_a(drawn_a)
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(v) for v in np.quantile(ratios, (tail, 1 - tail)))
    return float(np.median(np.concatenate(b)) / np.median(np.concatenate(a))), low, high


def verdict(low: float, high: float, margin: float) -> str:
    """The verdict on B from the interval of the ratio: ``faster``, ``slower`` or ``can't tell``."""
    if high < 1 - margin:
        return "faster"
    if low > 1 + margin:
        return "slower"
    return "can't tell"


def in_words(comparison: Mapping[str, Any]) -> str:
    """One comparison as a line of text."""
    c = comparison
    return (
        f"{c['b']} against {c['a']}, {c['measure']}: {c['ratio']:.3f} times the time "
        f"({c['confidence']:.0%} interval {c['low']:.3f} to {c['high']:.3f}"
        f"{', ' + str(c['processes']) + ' processes each' if c.get('processes') else ''}): {c['verdict']}"
        f"{', ' + c['reason'] if c.get('reason') else ''}"
    )


def rounds_of(
    model: Mapping[str, Any], stages: Sequence[str], where: str = "the result"
) -> list[NDArray[np.float64]]:
    """The samples of a model by round: the sum of some stages, milliseconds.

    Args:
        model: An entry of ``models``.
        stages: The stages.
        where: The result's file, for the message.

    Raises:
        DataError: There are none, or they are no times.
    """
    try:
        total = np.asarray([model["samples_ms"][stage] for stage in stages], np.float64).sum(axis=0)
        rounds = np.asarray(model["rounds"], np.float64)
    except (KeyError, TypeError, ValueError, OverflowError):
        total, rounds = np.zeros(0), np.zeros(0)
    is_whole = total.ndim == 1 and total.shape == rounds.shape and bool(np.isfinite(total + rounds).all())
    if not (is_whole and len(total) and np.median(total) > 0):
        raise DataError(
            f"{where} has no samples of {model.get('name', 'a model')}",
            hint="edgestill bench MODEL --out FILE stores them",
        )
    return [total[rounds == number] for number in np.unique(rounds)]


def _medians(rounds: Sequence[NDArray[np.float64]]) -> Callable[[NDArray[np.int64]], float]:
    """A function from drawn rounds to the median of all their samples; it sorts once, not for each draw."""
    samples = np.concatenate(rounds)
    order = np.argsort(samples)
    samples = samples[order]
    round_of = np.repeat(np.arange(len(rounds)), [len(r) for r in rounds])[order]

    def median(drawn: NDArray[np.int64]) -> float:
        # A sample counts as often as its round was drawn.
        until = np.cumsum(np.bincount(drawn, minlength=len(rounds))[round_of])
        middle = ((until[-1] - 1) // 2, until[-1] // 2)
        return float(samples[np.searchsorted(until, middle, side="right")].mean())

    return median


def _pairs(
    a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]], names: tuple[str, str]
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    if len(a) == len(b) == 1:
        return [(a[0], b[0])]
    second = {model["name"]: model for model in b}
    pairs = [(model, second[model["name"]]) for model in a if model["name"] in second]
    if not pairs:
        raise UsageError(
            f"no model is in both results: {', '.join(m['name'] for m in a)} / {', '.join(second)} "
            f"({names[0]} / {names[1]})",
            hint="measure them together: edgestill bench A B --interleave",
        )
    return pairs
