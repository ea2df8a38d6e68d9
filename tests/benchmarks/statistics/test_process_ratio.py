"""Ratios over processes: planted differences, both levels in the interval, and too little for a verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.statistics import process_ratio
from benchmarks.statistics.compare import BUILD_MARGIN, PAIRED_MARGIN, compare_models, in_words, margin_of
from benchmarks.statistics.process_ratio import (
    LEAST_PROCESSES,
    by_process,
    process_of_rounds,
    ratio_over_processes,
)
from edgestill.errors import DataError

PROCESSES, ROUNDS, TURN = 8, 10, 4


def times(seed: int, *, scale: float = 1.0, between: float = 0.0, within: float = 0.01) -> np.ndarray:
    """Milliseconds ``[PROCESSES, ROUNDS, TURN]``: processes that differ, rounds that differ, samples."""
    rng = np.random.default_rng(seed)
    process = 1 + between * rng.standard_normal((PROCESSES, 1, 1))
    rounds = 1 + within * rng.standard_normal((PROCESSES, ROUNDS, 1))
    return scale * 10 * process * rounds * (1 + 0.005 * rng.standard_normal((PROCESSES, ROUNDS, TURN)))


def model(name: str, inference_ms: np.ndarray, **more: Any) -> dict[str, Any]:
    count, per_process = inference_ms.size, inference_ms[0].size
    quick = {stage: [0.1] * count for stage in ("decode", "letterbox", "postprocess")}
    return {
        "name": name,
        "samples_ms": {"inference": list(inference_ms.ravel()), **quick},
        "rounds": list(np.repeat(np.arange(count // TURN), TURN)),
        "processes": list(np.repeat(np.arange(len(inference_ms)), per_process)),
        **more,
    }


def compared(a: np.ndarray, b: np.ndarray, *, paired: bool = True) -> dict[str, Any]:
    found = compare_models(model("a", a), model("b", b), paired=paired)
    return next(c for c in found if c["measure"] == "inference")


@pytest.mark.parametrize(("scale", "expected"), [(0.97, "faster"), (1.03, "slower"), (1.0, "can't tell")])
def test_three_percent_is_found_on_quiet_processes(scale: float, expected: str) -> None:
    found = compared(times(1), times(2, scale=scale))
    assert (found["verdict"], found["processes"]) == (expected, PROCESSES)
    assert found["ratio"] == pytest.approx(scale, abs=0.01)
    assert in_words(found).find(f"{PROCESSES} processes each") > 0


def test_processes_that_differ_make_the_interval_wide_however_many_rounds_there_are() -> None:
    alike, unlike = compared(times(1), times(2)), compared(times(1, between=0.03), times(2, between=0.03))
    widths = [c["high"] - c["low"] for c in (alike, unlike)]
    assert widths[1] > 2 * widths[0]


def test_intervals_of_unlike_processes_cover_the_truth() -> None:
    covered = 0
    for seed in range(60):
        a, b = times(seed, between=0.02), times(1000 + seed, scale=1.02, between=0.02)
        _, low, high = ratio_over_processes(a, b, paired=True, confidence=0.95)
        covered += low <= 1.02 <= high
    assert covered >= 52  # 95 % of 60 are 57; a little less is known of eight processes


def test_the_median_of_drawn_rounds_is_that_of_their_samples() -> None:
    rng = np.random.default_rng(5)
    rounds = [rng.gamma(2, 1, size) for size in (1, 4, 3, 4)]
    drawn = process_ratio._drawn_rounds(len(rounds), rng)
    found = process_ratio._log_medians(rounds, drawn)
    for counts, log_median in zip(drawn[:50], found[:50], strict=True):
        samples = np.concatenate([r for r, count in zip(rounds, counts, strict=True) for _ in range(count)])
        assert log_median == pytest.approx(np.log(np.median(samples)))


def test_what_a_pair_has_in_common_cancels() -> None:
    weather = 1 + 0.2 * np.random.default_rng(3).random((PROCESSES, ROUNDS, 1))
    a, b = times(1) * weather, times(2) * weather
    paired, apart = (compared(a, b, paired=paired) for paired in (True, False))
    assert (paired["high"] - paired["low"]) < (apart["high"] - apart["low"]) / 2


def test_too_few_processes_are_no_verdict() -> None:
    few = LEAST_PROCESSES - 1
    found = compared(times(1)[:few], times(2, scale=2.0)[:few])
    assert found["verdict"] == "can't tell"
    assert found["reason"] == "4 processes are too few for the interval, 5 are needed: --processes"


def test_results_with_different_numbers_of_processes_are_compared() -> None:
    found = compared(times(1)[:6], times(2, scale=1.5), paired=False)
    assert (found["verdict"], found["processes"]) == ("slower", 6)


def test_one_result_of_one_process_is_compared_by_rounds() -> None:
    one = {**model("a", times(1)), "processes": None}
    found = compare_models(one, model("b", times(2, scale=1.5)), paired=False)
    assert {c["processes"] for c in found} == {None}


def test_the_interval_is_the_same_every_time() -> None:
    assert compared(times(1), times(2)) == compared(times(1), times(2))


def test_rounds_are_grouped_by_their_process() -> None:
    rounds = [np.array([float(k)]) for k in range(4)]
    assert by_process(rounds, [0, 1, 0, 1]) == [[rounds[0], rounds[2]], [rounds[1], rounds[3]]]


def test_numbers_of_processes_must_be_those_of_the_samples() -> None:
    broken = {**model("a", times(1)), "processes": [0, 1]}
    with pytest.raises(DataError, match="2 numbers of processes for 320 samples"):
        process_of_rounds(broken)


@pytest.mark.parametrize(
    ("builds", "margin"), [((1, 1), BUILD_MARGIN), ((2, 1), BUILD_MARGIN), ((2, 2), PAIRED_MARGIN)]
)
def test_one_engine_for_an_arm_has_the_margin_of_builds(builds: tuple[int, int], margin: float) -> None:
    a, b = (
        model(name, times(1), backend="trt", builds=count, sha256={name: name})
        for name, count in zip("ab", builds, strict=True)
    )
    assert margin_of(a, b, paired=True) == margin
    assert margin_of(a, {**b, "sha256": a["sha256"]}, paired=True) == PAIRED_MARGIN
    onnx = [{**m, "backend": "ort", "builds": 1} for m in (a, b)]
    assert margin_of(*onnx, paired=True) == PAIRED_MARGIN


def test_the_margin_of_builds_is_said() -> None:
    a, b = (
        model(name, times(seed, scale=scale), backend="trt", sha256={name: name})
        for name, seed, scale in (("a", 1, 1.0), ("b", 2, 1.03))
    )
    reasons = {c["reason"] for c in compare_models(a, b, paired=True)}
    assert all("one engine for each model" in str(reason) for reason in reasons)
