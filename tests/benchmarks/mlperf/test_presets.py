"""bench --preset: MLPerf's rules, LoadGen's early stopping, and results that say what they lack."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.measure import cold
from benchmarks.measure.collect import Settings
from benchmarks.measure.footage import draw_street
from benchmarks.mlperf.presets import bench, defaults, query_figures
from benchmarks.mlperf.queries import Queries, all_at_once, one_after_the_other
from benchmarks.mlperf.rules import LEAST_S, RULES
from benchmarks.report.sections import build_sections
from benchmarks.statistics.percentiles import early_stopping_rank, least_samples
from edgestill.cli.options.benchmark import arrival
from edgestill.detections import Detections
from edgestill.errors import UsageError
from edgestill.spec import ModelSpec
from runtime.frames import Frame
from tests.benchmarks.measure.simulated_time import SimulatedTime


@pytest.fixture(autouse=True)
def no_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cold start has its own tests."""
    monkeypatch.setattr(cold, "measure", lambda *_, **__: dict.fromkeys(cold.KEYS, 1.0))


class Steady:
    """A detector that needs 10 ms for each frame, and notes what it got."""

    spec = ModelSpec(name="steady", input_hw=(32, 32), classes=("red",))

    def __init__(self, time: SimulatedTime) -> None:
        self._time = time
        self.seen: list[int] = []

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        return self.timed(image_bgr)[0]

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        found, stages_ms = self.timed_batch([image_bgr])
        return found[0], stages_ms

    def timed_batch(
        self, images_bgr: Sequence[NDArray[np.uint8]]
    ) -> tuple[list[Detections], dict[str, float]]:
        self._time.advance(0.01 * len(images_bgr))
        self.seen += [int(image[0, 0, 0]) for image in images_bgr]
        return [Detections.empty() for _ in images_bgr], {"inference": 10.0 * len(images_bgr)}


def library(count: int = 8) -> list[Frame]:
    return [
        Frame(image_bgr=np.full((2, 2, 3), k, np.uint8), index=k, captured_s=0, name="x", decode_ms=0)
        for k in range(count)
    ]


def binomial_cdf(n: int, k: int, p: float) -> float:
    """By the recurrence of its terms: another way than the logarithms of the module."""
    term = total = (1 - p) ** n
    for i in range(k):
        term *= (n - i) / (i + 1) * p / (1 - p)
        total += term
    return total


@pytest.mark.parametrize("fraction", [0.9, 0.99])
@pytest.mark.parametrize("n", [63, 64, 65, 100, 500, 661, 662, 663, 1000, 5000])
def test_the_rank_is_the_largest_t_of_loadgens_condition(n: int, fraction: float) -> None:
    rank = early_stopping_rank(n, fraction)
    if rank:
        assert binomial_cdf(n, rank, 1 - fraction) < 0.01
    assert binomial_cdf(n, rank + 1, 1 - fraction) >= 0.01


def test_the_least_queries_are_those_of_loadgen() -> None:
    assert [rule.least_queries for rule in RULES.values()] == [64, 662, 24576]
    assert [early_stopping_rank(least_samples(p, 2) - 1, p) for p in (0.9, 0.99)] == [0, 0]


def test_queries_are_issued_until_the_time_and_the_number_are_reached() -> None:
    time = SimulatedTime()
    detector = Steady(time)
    taken = one_after_the_other(detector, library(), 8, time.now_s, least_s=1.99, least_queries=5)
    assert taken.latencies_ms == pytest.approx([80.0] * 26)  # the last is issued at 2.0 s
    assert taken.seconds == pytest.approx(2.0)
    assert len(taken.ends_s) == len(detector.seen) == 26 * 8
    taken = one_after_the_other(detector, library(), 1, time.now_s, least_s=0.0, least_queries=64)
    assert len(taken.latencies_ms) == 64


def test_frames_are_drawn_with_replacement_the_same_in_each_run() -> None:
    orders = []
    for _ in range(2):
        time = SimulatedTime()
        detector = Steady(time)
        one_after_the_other(detector, library(), 1, time.now_s, least_s=0.0, least_queries=400)
        orders.append(detector.seen)
    assert orders[0] == orders[1]
    counts = np.bincount(orders[0], minlength=8)
    assert counts.min() > 400 / 8 / 2


def test_offline_asks_for_what_fills_the_time() -> None:
    time = SimulatedTime()
    taken = all_at_once(Steady(time), library(), 1, time.now_s, least_s=5.0, least_samples=16)
    assert taken.seconds == pytest.approx(5.5, abs=0.02)
    assert len(taken.ends_s) == pytest.approx(550, abs=2)


def figures(preset: str, count: int, seconds: float) -> dict[str, Any]:
    latencies_ms = [float(k + 1) for k in range(count)]
    rule = RULES[preset]
    taken = Queries(
        latencies_ms=latencies_ms,
        ends_s=[0.0] * count * (rule.samples_per_query or 1),
        stages_ms={"inference": [8.0] * count},
        found=3,
        seconds=seconds,
    )
    return query_figures(taken, rule)


def test_a_complete_run_has_the_percentile_and_its_bound_and_no_doubt() -> None:
    found = figures("mlperf-single-stream", 1000, LEAST_S)
    mlperf = found["mlperf"]
    assert (mlperf["scenario"], mlperf["is_complete"], mlperf["is_official"]) == ("SingleStream", True, False)
    assert (mlperf["metric"], mlperf["value"]) == ("p90 of a query, ms", 901)
    rank = early_stopping_rank(1000, 0.9)
    assert (mlperf["early_stopping_ms"], mlperf["discarded"]) == (1000 - rank + 1, rank - 1)
    assert mlperf["early_stopping_ms"] > mlperf["value"]
    assert found["doubts"] == []


def test_a_short_run_says_what_it_lacks() -> None:
    found = figures("mlperf-multi-stream", 661, 20.0)
    assert not found["mlperf"]["is_complete"]
    assert found["mlperf"]["early_stopping_ms"] is None
    assert found["mlperf"]["early_stopping_reason"] == "early stopping needs 662 queries; there are 661"
    assert found["doubts"] == [
        "MLPerf's MultiStream takes 600 s or more; this run took 20.0 s",
        "MLPerf's MultiStream takes 662 queries or more; this run had 661",
    ]
    assert found["stages_ms"] == {"inference": 1.0}  # a frame


def test_a_given_time_alone_shortens_a_run() -> None:
    assert defaults("mlperf-multi-stream", duration_s=None, min_samples=None) == (600, 662)
    assert defaults("mlperf-multi-stream", duration_s=5, min_samples=None) == (5, 1)
    assert defaults("mlperf-offline", duration_s=5, min_samples=7) == (5, 7)


@pytest.mark.parametrize("preset", RULES)
def test_a_real_model_gives_a_result_that_is_reported(preset: str, tiny_model: Path, tmp_path: Path) -> None:
    picture = tmp_path / "street.png"
    cv2.imwrite(str(picture), draw_street(0)[:96, :160])
    settings = Settings(source=str(picture), duration_s=0, min_samples=70, warmup_s=0, threads=1)
    result = bench(preset, [tiny_model], settings)
    assert (result["kind"], result["scenario"]) == ("mlperf", preset)
    assert "no MLPerf result" in result["note"]
    (model,) = result["models"]
    assert model["mlperf"]["value"] > 0
    assert model["cold_start_ms"] == 2
    assert model["gpu_compute_ms"] is None
    assert any("this run took" in doubt for doubt in model["doubts"])
    assert (model["p50_ms"] is None) == (preset == "mlperf-offline")
    (section,) = build_sections([("a.json", result)])
    assert len(section.blocks) > 0


def test_models_do_not_take_turns(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="--interleave with --preset"):
        bench("mlperf-offline", [tiny_model, tiny_model], Settings(interleave=True))


def test_the_flag_has_the_names_of_the_rules_and_excludes_a_scenario() -> None:
    assert tuple(RULES) == arrival.PRESETS
    parser = argparse.ArgumentParser()
    arrival.add_arguments(parser)
    args = parser.parse_args(["--preset", "mlperf-offline", "--scenario", "paced"])
    with pytest.raises(UsageError, match="a preset is a scenario"):
        arrival.bench_of(args)
    assert arrival.amount(parser.parse_args([])) == (10, 50)
    assert arrival.amount(parser.parse_args(["--preset", "mlperf-offline"])) == (600, 24576)


@pytest.mark.parametrize("words", ["--fps 5", "--streams 2", "--scenario paced --streams 2"])
def test_a_flag_of_cameras_needs_cameras(words: str) -> None:
    parser = argparse.ArgumentParser()
    arrival.add_arguments(parser)
    with pytest.raises(UsageError, match="which has no such cameras"):
        arrival.cameras(parser.parse_args(words.split()))
