"""Cameras and the newest-frame policy, in simulated time: ages and dropped frames are those of theory."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.measure.cameras import CameraRun, CameraSamples
from benchmarks.measure.timeline import SystemTimeline
from edgestill.detections import Detections
from edgestill.errors import DataError
from edgestill.spec import ModelSpec
from runtime.frames import Frame
from tests.benchmarks.measure.simulated_time import SimulatedTime

IMAGE = np.zeros((4, 4, 3), np.uint8)
FRAMES = 300


class Pictures:
    """Frames whose decoding takes ``decode_s`` of the thread of the camera."""

    def __init__(
        self, time: SimulatedTime | None = None, decode_s: float = 0.0, last: int | None = None
    ) -> None:
        self._time, self._decode_s, self._last, self.taken = time, decode_s, last, 0

    def take(self, count: int) -> list[Frame]:
        self.taken += count
        if self._last is not None and self.taken > self._last:
            raise DataError("the frame is broken", hint="copy it again")
        if self._time is not None and self._decode_s:
            self._time.advance(self._decode_s)
        return [
            Frame(image_bgr=IMAGE, index=0, captured_s=-1.0, name="x", decode_ms=self._decode_s * 1e3)
            for _ in range(count)
        ]


class Slow:
    """A detector that needs ``service_s`` for each run of the network, of as many frames as it gets."""

    spec = ModelSpec(name="slow", input_hw=(32, 32), classes=("red",))

    def __init__(self, time: SimulatedTime, service_s: float) -> None:
        self._time, self._service_s = time, service_s

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        return self.timed(image_bgr)[0]

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        found, stages_ms = self.timed_batch([image_bgr])
        return found[0], stages_ms

    def timed_batch(
        self, images_bgr: Sequence[NDArray[np.uint8]]
    ) -> tuple[list[Detections], dict[str, float]]:
        self._time.advance(self._service_s)
        ms = self._service_s * 1e3
        return [Detections.empty() for _ in images_bgr], {
            "letterbox": 0.0,
            "inference": ms,
            "postprocess": 0.0,
        }


def simulate(
    service_s: float, *, fps: float = 30.0, cameras: int = 1, decode_s: float = 0.0, most: int | None = 1
) -> CameraSamples:
    time = SimulatedTime()
    sources = [Pictures(time, decode_s) for _ in range(cameras)]
    run = CameraRun(Slow(time, service_s), sources, fps, time, most=most)
    return run.measure(duration_s=0.0, min_samples=FRAMES, warmup_s=1.0)


@settings(max_examples=15, deadline=None)
@given(load=st.floats(1.05, 12.0), fps=st.floats(1.0, 120.0))
def test_a_detector_slower_than_the_camera_drops_the_rest_and_its_frames_are_less_than_a_period_old(
    load: float, fps: float
) -> None:
    period_s = 1 / fps
    taken = simulate(load * period_s, fps=fps)
    ages_s = np.asarray([decision.age_ms for decision in taken.decisions]) / 1e3
    assert taken.dropped_share() == pytest.approx(1 - 1 / load, abs=2 / FRAMES * load)
    assert ages_s.min() >= load * period_s * (1 - 1e-9)
    assert ages_s.max() <= (load + 1) * period_s * (1 + 1e-9)
    assert taken.busy_s == pytest.approx(taken.end_s - taken.start_s)


@settings(max_examples=15, deadline=None)
@given(load=st.floats(0.01, 0.95), fps=st.floats(1.0, 120.0))
def test_a_detector_faster_than_the_camera_drops_nothing_and_waits_for_frames(
    load: float, fps: float
) -> None:
    taken = simulate(load / fps, fps=fps)
    ages_s = np.asarray([decision.age_ms for decision in taken.decisions]) / 1e3
    assert taken.dropped() == 0
    np.testing.assert_allclose(ages_s, load / fps, rtol=1e-6)
    assert taken.busy_s / (taken.end_s - taken.start_s) == pytest.approx(load, rel=0.02)


@settings(max_examples=15, deadline=None)
@given(cameras=st.integers(2, 8), load=st.floats(0.3, 3.0))
def test_several_cameras_share_the_detector_fairly_and_no_frame_is_older_than_a_period(
    cameras: int, load: float
) -> None:
    period_s = 1 / 25
    taken = simulate(load * period_s, fps=25, cameras=cameras)
    offered = load * cameras  # the time that all frames would need, over the time there is
    ages_s = np.asarray([decision.age_ms for decision in taken.decisions]) / 1e3
    assert taken.dropped_share() == pytest.approx(max(0.0, 1 - 1 / offered), abs=0.06)
    # The frame that is taken is the newest of its camera, so younger than a period when it is taken.
    assert ages_s.max() <= (load + 1) * period_s * (1 + 1e-9)
    counts = [taken.decided(at) for at in range(cameras)]
    if offered > 1:
        assert max(counts) - min(counts) <= 2


def test_frames_of_cameras_that_are_ready_together_go_to_the_network_together() -> None:
    taken = simulate(3 / 25, fps=25, cameras=4, most=None)
    assert {decision.together for decision in taken.decisions} == {4}
    alone = simulate(3 / 25, fps=25, cameras=4, most=1)
    assert taken.dropped_share() < alone.dropped_share()


def test_the_age_counts_from_the_tick_of_the_camera_and_includes_decoding() -> None:
    taken = simulate(0.010, fps=25, decode_s=0.005)
    ages_ms = [decision.age_ms for decision in taken.decisions]
    assert ages_ms == pytest.approx([15.0] * len(ages_ms))
    assert taken.samples.frame_ms == pytest.approx([15.0] * len(ages_ms))


def test_ticks_that_pass_while_a_camera_decodes_are_dropped_frames_and_not_a_queue() -> None:
    taken = simulate(0.001, fps=30, decode_s=0.1)  # three periods
    assert sum(taken.replaced) == 0
    assert taken.dropped_share() == pytest.approx(2 / 3, abs=0.01)
    # Simulated decoding stops the detector too, as on one core: a frame may wait for that of the next.
    assert max(decision.age_ms for decision in taken.decisions) <= 201


def test_warm_up_is_not_counted() -> None:
    time = SimulatedTime()
    pictures = Pictures()
    run = CameraRun(Slow(time, 0.001), [pictures], 10, time)
    taken = run.measure(duration_s=2.0, min_samples=1, warmup_s=3.0)
    assert taken.start_s == pytest.approx(103, abs=0.2)
    assert taken.end_s - taken.start_s == pytest.approx(2, abs=0.2)
    assert len(taken.decisions) == pytest.approx(20, abs=1)
    assert pictures.taken == pytest.approx(51, abs=1)


def test_it_goes_on_until_there_are_enough_samples() -> None:
    assert len(simulate(0.001, fps=5).decisions) == FRAMES


def test_an_error_of_a_camera_ends_the_run() -> None:
    time = SimulatedTime()
    with pytest.raises(DataError, match="the frame is broken"):
        CameraRun(Slow(time, 0.001), [Pictures(last=9)], 30, time).measure(
            duration_s=9, min_samples=1, warmup_s=0
        )


class Instant(Slow):
    """A detector that answers at once, in real time."""

    def timed_batch(
        self, images_bgr: Sequence[NDArray[np.uint8]]
    ) -> tuple[list[Detections], dict[str, float]]:
        return [Detections.empty() for _ in images_bgr], dict.fromkeys(
            ("letterbox", "inference", "postprocess"), 0.0
        )


def test_threads_of_the_clock_of_the_machine_deliver_frames_and_end() -> None:
    before = threading.active_count()
    run = CameraRun(Instant(SimulatedTime(), 0.0), [Pictures(), Pictures()], 500, SystemTimeline())
    taken = run.measure(duration_s=0, min_samples=20, warmup_s=0)
    assert {decision.at for decision in taken.decisions} == {0, 1}
    assert all(decision.age_ms > 0 for decision in taken.decisions)
    assert threading.active_count() == before


def test_an_error_in_a_thread_is_raised_where_the_frames_are_taken() -> None:
    before = threading.active_count()
    with pytest.raises(DataError, match="the frame is broken"):
        CameraRun(Instant(SimulatedTime(), 0.0), [Pictures(last=3)], 500, SystemTimeline()).measure(
            duration_s=60, min_samples=1, warmup_s=0
        )
    assert threading.active_count() == before
