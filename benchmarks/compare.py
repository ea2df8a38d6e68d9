"""Which of two models is faster, and whether the difference is significant.

The figure is the ratio of medians, B over A, with a bootstrap interval over whole rounds: consecutive samples
are correlated, so that resampling single ones would give too narrow an interval. If the models were measured
alternately in one process, a round is drawn for both together, so that common disturbances cancel.

Source: Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013 (ratios with bootstrap
intervals); Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DataError, UsageError

CONFIDENCE = 0.95
RESAMPLES = 2000
LEAST_ROUNDS = 8  # with fewer the bootstrap interval is too narrow

#: Differences below this are ignored, even if significant.
PAIRED_MARGIN = 0.01
#: The same for separate runs: two processes with one model differ by this much.
SEPARATE_MARGIN = 0.05

MEASURES = {"frame": ("decode", "letterbox", "inference", "postprocess"), "inference": ("inference",)}


def compare_models(a: Mapping[str, Any], b: Mapping[str, Any], *, paired: bool) -> list[dict[str, Any]]:
    """Compare two models of bench results: time of whole frames, and of inference alone.

    Args:
        a: The reference, an entry of ``models``.
        b: The model that is compared with it.
        paired: Whether both were measured alternately in one process.
    """
    found = []
    for measure, stages in MEASURES.items():
        first, second = _rounds(a, stages), _rounds(b, stages)
        ratio, low, high = ratio_of_medians(first, second, paired=paired)
        margin = PAIRED_MARGIN if paired else SEPARATE_MARGIN
        few = min(len(first), len(second)) < LEAST_ROUNDS
        found.append(
            {
                "a": a["name"],
                "b": b["name"],
                "measure": measure,
                "a_ms": round(float(np.median(np.concatenate(first))), 3),
                "b_ms": round(float(np.median(np.concatenate(second))), 3),
                "ratio": round(ratio, 4),
                "low": round(low, 4),
                "high": round(high, 4),
                "confidence": CONFIDENCE,
                "paired": paired,
                "verdict": "can't tell" if few else verdict(low, high, margin),
                "margin": margin,
            }
        )
    return found


def compare_results(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Compare two bench results: their only models, or the models of equal name.

    Raises:
        DataError: One of them is not a result of bench.
        UsageError: They have no model in common.
    """
    for result in (a, b):
        kind = result.get("kind") if isinstance(result, Mapping) else type(result).__name__
        if kind != "bench" or not result.get("models"):
            raise DataError(
                f"this is not a result of bench (kind {kind!r})",
                hint="edgestill bench MODEL --out FILE writes one",
            )
    try:
        pairs = _pairs(a["models"], b["models"])
        comparisons = [c for first, second in pairs for c in compare_models(first, second, paired=False)]
        return {"kind": "compare", "comparisons": comparisons, "doubts": _differences(a, b)}
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(
            f"a result lacks a part or was changed: {error!r}",
            hint="edgestill bench MODEL --out FILE writes one",
        ) from error


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
    ratios = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        drawn_a = rng.integers(0, len(a), len(a))
        drawn_b = drawn_a if paired else rng.integers(0, len(b), len(b))
        ratios[k] = _median(b, drawn_b) / _median(a, drawn_a)
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
        f"({c['confidence']:.0%} interval {c['low']:.3f} to {c['high']:.3f}): {c['verdict']}"
    )


def _rounds(model: Mapping[str, Any], stages: Sequence[str]) -> list[NDArray[np.float64]]:
    try:
        total = np.asarray([model["samples_ms"][stage] for stage in stages], np.float64).sum(axis=0)
        rounds = np.asarray(model["rounds"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the result of {model.get('name', 'a model')} has no samples",
            hint="edgestill bench MODEL --out FILE stores them",
        ) from error
    return [total[rounds == number] for number in np.unique(rounds)]


def _median(rounds: Sequence[NDArray[np.float64]], drawn: NDArray[np.int64]) -> float:
    return float(np.median(np.concatenate([rounds[i] for i in drawn])))


def _pairs(
    a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    if len(a) == len(b) == 1:
        return [(a[0], b[0])]
    second = {model["name"]: model for model in b}
    pairs = [(model, second[model["name"]]) for model in a if model["name"] in second]
    if not pairs:
        raise UsageError(
            f"no model is in both results: {', '.join(m['name'] for m in a)} / {', '.join(second)}",
            hint="measure them together: edgestill bench A B --interleave",
        )
    return pairs


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Reasons why the two results may not be comparable."""
    found = [
        "measured in two runs: changes between them affect the ratio; bench A B --interleave avoids that"
    ]
    conditions = {
        "the machine": ("machine", "title"),
        "the number of threads": ("threads",),
        "library versions": ("versions",),
    }
    for what, keys in conditions.items():
        sides = []
        for result in (a, b):
            value: Any = result["models"][0].get("environment", {})
            for key in keys:
                value = value.get(key) if isinstance(value, Mapping) else None
            sides.append(value)
        if sides[0] != sides[1]:
            found.append(f"{what} differs: {sides[0]} / {sides[1]}")
    if a.get("footage") != b.get("footage"):
        found.append("the frames differ")
    return found
