"""Figures of rows from turns."""

import numpy as np
import pytest

from benchmarks.peers import model_files as files
from benchmarks.peers.model_files import ModelFile
from benchmarks.peers.peer_rows import Row, Turns, describe, interrupted, ratio, rows


def turns(times_ms: dict[int, float], piece: str = "one") -> Turns:
    return {n: {"figures": {"time_ms": ms, "cpu_ms": 2 * ms}, "piece": piece} for n, ms in times_ms.items()}


def test_a_ratio_is_of_the_rounds_that_both_have() -> None:
    base = turns({0: 10.0, 1: 10.0, 2: 10.0, 3: 1000.0})
    found = ratio(turns({0: 5.0, 1: 5.0, 2: 5.0, 7: 1.0}), base)
    assert found == {"ratio": 0.5, "low": None, "high": None}  # three rounds support no interval
    assert ratio({}, base) == {"ratio": None, "low": None, "high": None}


@pytest.mark.parametrize("true", [0.55, 1.2])
def test_disturbances_that_both_have_cancel_and_the_interval_holds_the_truth(true: float) -> None:
    random = np.random.default_rng(4)
    hits = 0
    for _ in range(10):
        disturbed = 10 * random.uniform(1, 1.3, 12)
        noise = random.normal(1, 0.01, (2, 12))
        base = turns(dict(enumerate(disturbed * noise[0])))
        found = ratio(turns(dict(enumerate(true * disturbed * noise[1]))), base)
        assert found["low"] is not None
        assert found["high"] is not None
        hits += found["low"] <= true <= found["high"]
    assert hits >= 7  # of 10 at 95 %, from medians of 12 rounds


def test_a_row_says_what_its_figure_covers() -> None:
    row = Row(program="benchmark_app", file=ModelFile(key="ov-int8", backend="ov", precision="int8"))
    found = describe(row, turns({0: 3.0, 1: 5.0, 2: 4.0}))
    assert (found["time_ms"], found["cpu_ms"], found["frame_ms"]) == (4, 8, None)
    assert found["turns"]["time_ms"] == [3, 5, 4]
    assert "random input" in found["covers"]
    assert found["quantised_by"] == "edgestill"


def test_rounds_in_two_pieces_are_counted() -> None:
    first, second = turns({0: 1.0, 1: 1.0}), turns({1: 1.0, 2: 1.0}, "two")
    assert interrupted(range(3), [first, second]) == 1


@pytest.mark.parametrize("where", ["here", "device"])
def test_engines_and_trtexec_are_rows_where_they_can_be(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    monkeypatch.setattr(files.shutil, "which", lambda name: "trtexec" if where == "device" else None)
    keys = [row.key for row in rows()]
    assert len(keys) == len(set(keys))
    assert sum(row.is_base for row in rows()) == (3 if where == "device" else 2)
    assert ("trtexec trt-fp16" in keys) is (where == "device")
    for key in ("edgestill ov-int8-nncf-mixed", "edgestill ort-int8-defaults", "benchmark_app ov-fp32"):
        assert key in keys
    assert "yolo predict ov-fp32" in keys


@pytest.mark.parametrize("saturates", [True, False])
def test_weights_have_7_bits_where_8_would_saturate(saturates: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "saturates_here", lambda: saturates)
    by_key = {file.key: file for file in files.model_files()}
    assert ("--reduce-range" in by_key["ort-int8-recommended"].arguments) is saturates
    assert by_key["ort-int8-defaults"].arguments == ("ort_int8.py",)
