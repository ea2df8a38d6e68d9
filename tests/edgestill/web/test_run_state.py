"""What is known of a run, and whether it is well."""

from collections.abc import Callable
from typing import Any

import pytest

from edgestill.demo.web import run_state
from edgestill.demo.web.run_controls import RunControls
from edgestill.demo.web.run_state import STALE_S, RunFacts, RunState, drops_of

FACTS = RunFacts(model="student", backend="ort", device="CPU", classes=("red", "yellow", "green", "off"))


class Detector:
    conf = 0.25


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the state sees; tests move it."""
    now = [1000.0]
    monkeypatch.setattr(run_state, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def start(make_source: Callable[..., Any], clock: list[float]) -> Callable[..., RunState]:
    def call(**sources: Any) -> RunState:
        return RunState(FACTS, sources or {"cam": make_source()})

    return call


def test_a_camera_is_starting_ok_stale_and_ok_again(
    start: Callable[..., RunState], make_result: Callable[..., Any], clock: list[float]
) -> None:
    state = start()
    assert state.health(paused=False) == {"cam": "starting"}
    state.record(make_result())
    clock[0] += STALE_S
    assert state.health(paused=False) == {"cam": "ok"}
    clock[0] += 0.1
    assert state.health(paused=False) == {"cam": "stale"}
    state.record(make_result(1))
    assert state.health(paused=False) == {"cam": "ok"}


def test_a_camera_that_never_sends_is_stale(start: Callable[..., RunState], clock: list[float]) -> None:
    state = start()
    clock[0] += STALE_S + 0.1
    assert state.health(paused=False) == {"cam": "stale"}


def test_a_slow_camera_may_be_silent_for_longer(
    start: Callable[..., RunState],
    make_source: Callable[..., Any],
    make_result: Callable[..., Any],
    clock: list[float],
) -> None:
    state = start(cam=make_source(fps=0.2))
    state.record(make_result())
    clock[0] += 14
    assert state.health(paused=False) == {"cam": "ok"}
    clock[0] += 2
    assert state.health(paused=False) == {"cam": "stale"}


def test_one_of_two_cameras_can_be_stale(
    start: Callable[..., RunState],
    make_source: Callable[..., Any],
    make_result: Callable[..., Any],
    clock: list[float],
) -> None:
    state = start(a=make_source(), b=make_source())
    state.record(make_result(source="a"))
    state.record(make_result(source="b"))
    clock[0] += STALE_S + 1
    state.record(make_result(source="b"))
    assert state.health(paused=False) == {"a": "stale", "b": "ok"}


def test_a_paused_camera_that_sends_is_well_and_one_that_does_not_is_stale(
    start: Callable[..., RunState], make_result: Callable[..., Any], clock: list[float]
) -> None:
    state = start()
    state.record(make_result())
    clock[0] += STALE_S + 1
    assert state.health(paused=True) == {"cam": "stale"}
    state.heard("cam")
    assert state.health(paused=True) == {"cam": "paused"}


def test_a_file_that_is_paused_or_at_its_end_is_well(
    start: Callable[..., RunState],
    make_source: Callable[..., Any],
    make_result: Callable[..., Any],
    clock: list[float],
) -> None:
    state = start(a=make_source(is_live=False), b=make_source(is_live=False))
    state.record(make_result(source="a", is_live=False))
    clock[0] += STALE_S + 1
    assert state.health(paused=True) == {"a": "paused", "b": "paused"}
    state.record(make_result(source="b", is_live=False))
    assert state.health(paused=False) == {"a": "ok", "b": "ok"}
    clock[0] += STALE_S + 1
    assert state.health(paused=False) == {"a": "stale", "b": "stale"}  # the pipeline hangs


def test_the_snapshot_is_plain_and_shared_for_a_moment(
    start: Callable[..., RunState], make_result: Callable[..., Any], clock: list[float]
) -> None:
    state, controls = start(), RunControls(Detector())
    state.record(make_result(0, (0, 0.9), (0, 0.8), (2, 0.7)))
    first = state.snapshot(controls)
    (source,) = first["sources"]
    assert (source["name"], source["frames"], source["found"]) == ("cam", 1, {"red": 2, "green": 1})
    assert source["age_ms"] == {"p50": 30.0, "p95": 30.0, "p99": 30.0}
    state.record(make_result(1))
    assert state.snapshot(controls)["sources"] is first["sources"]
    clock[0] += run_state.REUSE_S
    assert state.snapshot(controls)["sources"][0]["frames"] == 2


def test_a_change_of_the_controls_is_told_at_once(start: Callable[..., RunState]) -> None:
    state, controls = start(), RunControls(Detector())
    state.snapshot(controls)
    controls.change(conf=0.5, paused=True)
    assert (state.snapshot(controls)["conf"], state.snapshot(controls)["paused"]) == (0.5, True)


def test_a_file_has_no_age_and_no_drops(
    start: Callable[..., RunState], make_source: Callable[..., Any], make_result: Callable[..., Any]
) -> None:
    state = start(clip=make_source(is_live=False, total=40))
    state.record(make_result(is_live=False))
    (source,) = state.snapshot(RunControls(Detector()))["sources"]
    assert (source["age_ms"], source["drops"], source["total"]) == (None, {}, 40)


def test_drops_have_causes(make_source: Callable[..., Any]) -> None:
    source = make_source(dropped=5)
    assert drops_of(source) == {"replaced": 5}
    source.drops = {"replaced": 3, "broken": 2}
    assert drops_of(source) == {"replaced": 3, "broken": 2}


def test_frames_of_a_pause_are_drops_with_a_cause_of_their_own(
    start: Callable[..., RunState], make_result: Callable[..., Any]
) -> None:
    state = start()
    controls = RunControls(Detector(), heard=state.heard)
    state.record(make_result())
    controls.change(paused=True)
    for _ in range(3):
        controls.admits("", is_live=True)
    assert state.snapshot(controls)["sources"][0]["drops"] == {"replaced": 0, "paused": 3}
