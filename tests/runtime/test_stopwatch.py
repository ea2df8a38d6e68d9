"""The stage clock."""

import pytest

from runtime.stopwatch import Stopwatch


def test_stages_keep_their_order() -> None:
    watch = Stopwatch()
    for name in ("decode", "letterbox", "inference"):
        with watch.stage(name):
            pass
    assert list(watch.stages_ms) == ["decode", "letterbox", "inference"]


def test_a_stage_that_runs_twice_adds_up() -> None:
    watch = Stopwatch()
    watch.add("track", 1.5)
    watch.add("track", 2.0)
    assert watch.stages_ms == {"track": 3.5}


def test_a_stage_that_fails_is_counted() -> None:
    watch = Stopwatch()
    with pytest.raises(ZeroDivisionError), watch.stage("inference"):
        _ = 1 / 0
    assert watch.stages_ms["inference"] >= 0
