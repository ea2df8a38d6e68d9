"""A baseline says what became slower, and leaves out what the conditions explain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.statistics.regression import against_baseline, refuse_other_machine
from edgestill.cli.options.benchmark.baseline import refuse_regressions
from edgestill.errors import DataError, VerificationError

ROUNDS = 20


def bench(scale: float, seed: int, **environment: Any) -> dict[str, Any]:
    """A result of bench with one model on a quiet machine."""
    rng = np.random.default_rng(seed)
    inference = scale * 10 * (1 + 0.01 * rng.standard_normal(4 * ROUNDS))
    quick = {stage: [0.5] * len(inference) for stage in ("decode", "letterbox", "postprocess")}
    conditions = {"machine": {"title": "box"}, "threads": 1, "versions": {"onnxruntime": "1.20"}}
    model = {
        "name": "m.onnx",
        "backend": "ort",
        "samples_ms": {"inference": list(inference), **quick},
        "rounds": list(np.repeat(np.arange(ROUNDS), 4)),
        "environment": conditions | environment,
    }
    return {"kind": "bench", "models": [model], "footage": None}


def test_a_slowdown_is_a_regression_with_its_figures_and_exit_code_six() -> None:
    found = against_baseline(bench(1.0, 1), bench(1.2, 2), name="old.json")
    assert [line.split(":")[0] for line in found["regressions"]] == ["m.onnx, frame", "m.onnx, inference"]
    with pytest.raises(
        VerificationError, match=r"inference: 12\.\d+ ms, 1\.20\d times the 10\.\d+ ms of old\.json"
    ) as caught:
        refuse_regressions({"baseline": found})
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.03])
def test_faster_equal_and_within_the_margin_are_none(scale: float) -> None:
    found = against_baseline(bench(1.0, 1), bench(scale, 2), name="old.json")
    assert (found["regressions"], found["explained"]) == ([], [])
    refuse_regressions({"baseline": found})


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        pytest.param(
            {"versions": {"onnxruntime": "1.22"}}, "the version of onnxruntime differs", id="library"
        ),
        pytest.param(
            {"machine": {"title": "box", "jetson": {"power_mode": "15W"}}},
            "the power mode differs",
            id="mode",
        ),
    ],
)
def test_what_the_conditions_explain_is_said_and_is_no_regression(
    environment: dict[str, Any], reason: str
) -> None:
    found = against_baseline(bench(1.0, 1), bench(1.3, 2, **environment), name="old.json")
    assert found["regressions"] == []
    assert any(reason in line for line in found["explained"])
    refuse_regressions({"baseline": found})


def test_a_slower_clock_explains_as_much_as_it_is_slower() -> None:
    clocks = [{"monitors": {"clocks_mhz": {"cpu": {"median": mhz}}}} for mhz in (1500, 1200)]
    before = bench(1.0, 1, **clocks[0])
    explained = against_baseline(before, bench(1.2, 2, **clocks[1]), name="old.json")
    beyond = against_baseline(before, bench(1.6, 2, **clocks[1]), name="old.json")
    assert (len(explained["regressions"]), len(explained["explained"])) == (0, 2)
    assert len(beyond["regressions"]) == 2


def test_a_baseline_of_another_machine_is_refused() -> None:
    refuse_other_machine(bench(1.0, 1), "box", name="old.json")
    with pytest.raises(DataError, match=r"old\.json was measured on box, and this is board"):
        refuse_other_machine(bench(1.0, 1), "board", name="old.json")


def test_a_result_without_a_baseline_is_not_judged() -> None:
    refuse_regressions({"kind": "bench"})
