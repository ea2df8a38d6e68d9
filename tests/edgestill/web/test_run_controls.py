"""Threshold and pause."""

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest

from edgestill.demo.web.run_controls import RunControls
from edgestill.errors import UsageError


class Detector:
    conf = 0.25


def test_the_threshold_is_that_of_the_detector() -> None:
    detector = Detector()
    controls = RunControls(detector)
    controls.change(conf=0.6)
    assert (detector.conf, controls.conf) == (0.6, 0.6)


@pytest.mark.parametrize("conf", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_threshold_out_of_range_changes_nothing(conf: float) -> None:
    detector = Detector()
    with pytest.raises(UsageError, match="conf is"):
        RunControls(detector).change(conf=conf)
    assert detector.conf == 0.25


def test_a_pause_discards_the_frames_of_a_camera_and_counts_them() -> None:
    heard: list[str] = []
    controls = RunControls(Detector(), heard=heard.append)
    assert controls.admits("cam", is_live=True)
    controls.change(paused=True)
    assert [controls.admits("cam", is_live=True) for _ in range(3)] == [False] * 3
    controls.change(paused=False)
    assert controls.admits("cam", is_live=True)
    assert controls.discarded == {"cam": 3}
    assert heard == ["cam"] * 3


@pytest.mark.parametrize(
    "go_on", [lambda controls: controls.change(paused=False), lambda controls: controls.end()]
)
def test_a_file_waits_until_it_may_go_on(go_on: Callable[[Any], None]) -> None:
    controls = RunControls(Detector())
    controls.change(paused=True)
    admitted: list[bool] = []
    thread = Thread(target=lambda: admitted.append(controls.admits("clip", is_live=False)), daemon=True)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    go_on(controls)
    thread.join(10)
    assert admitted == [True]
    assert controls.discarded == {}
