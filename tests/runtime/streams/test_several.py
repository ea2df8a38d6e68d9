"""Several sources in one pipeline: one model, and everything else apart."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event, current_thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.errors import DataError, DeviceError, UsageError
from edgestill.spec import ModelSpec
from runtime.frames import Frame
from runtime.pipeline import FrameResult, Pipeline, Stream
from runtime.tracking import Tracked, Tracker


class Clip:
    """Frames whose brightness is their index."""

    dropped = 0
    doubts = ()
    broke_off = None

    def __init__(
        self,
        total: int,
        *,
        is_live: bool = False,
        error: BaseException | None = None,
        hold: Event | None = None,
    ) -> None:
        self.total: int | None = None if is_live else total
        self.fps: float | None = 10.0
        self.is_live = is_live
        self.drops: dict[str, int] = {}
        self._count, self._error, self._hold = total, error, hold

    def frames(self) -> Iterator[Frame]:
        for i in range(self._count):
            image = np.full((20, 30, 3), i, np.uint8)
            yield Frame(image_bgr=image, index=i, captured_s=0.0, name="clip", decode_ms=2.5, time_s=i / 10)
        if self._hold is not None:
            self._hold.wait()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        pass


class Fake:
    """Finds one box in every frame, and notes how many frames it got at once."""

    spec = ModelSpec(name="fake", input_hw=(32, 32), classes=("red", "green"))

    def __init__(self) -> None:
        self.batches: list[int] = []

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        found, stages_ms = self.timed_batch([image_bgr])
        return found[0], stages_ms

    def timed_batch(self, images_bgr: list[NDArray[np.uint8]]) -> tuple[list[Detections], dict[str, float]]:
        self.batches.append(len(images_bgr))
        box, score = np.array([[5, 5, 15, 15]], np.float32), np.array([0.9], np.float32)
        # They move, as equal boxes are taken for one picture
        found = [Detections(box + image[0, 0, 0], score, np.array([0])) for image in images_bgr]
        return found, {"inference": 10.0 * len(images_bgr)}


class Notes:
    """A sink that remembers, and fails or ends the run if wanted."""

    def __init__(
        self, *, fails_at: int | None = None, enough_after: int | None = None, hold: Event | None = None
    ) -> None:
        self.needs_overlay = False
        self.results: list[FrameResult] = []
        self.closed: list[bool] = []
        self.threads: set[str] = set()
        self._fails_at, self._enough_after, self._hold = fails_at, enough_after, hold

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        if self._hold is not None:
            self._hold.wait()
        if len(self.results) == self._fails_at:
            raise UsageError("the disk is full", hint="free some space")
        self.results.append(result)
        self.threads.add(current_thread().name)
        return len(self.results) != self._enough_after

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        self.closed.append(complete)
        return ()


class Count:
    """Says in how manyeth frame of its own a track is."""

    def __init__(self) -> None:
        self._frames = 0

    def update(self, tracked: Tracked, time_s: float) -> tuple[str, ...]:
        self._frames += 1
        return tuple(str(self._frames) for _ in tracked.track_id)


def streams(*sources: Any, sinks: Any = None) -> list[Stream]:
    """The sources a, b, c with a tracker, a classifier and one sink each."""
    return [
        Stream(
            source=source,
            name=name,
            tracker=Tracker(),
            track_classifier=Count(),
            sinks=[sinks[name]] if sinks else (),
        )
        for name, source in zip("abc", sources, strict=False)
    ]


def by_source(sink: Notes) -> dict[str, list[FrameResult]]:
    found: dict[str, list[FrameResult]] = {}
    for result in sink.results:
        found.setdefault(result.source, []).append(result)
    return found


def test_each_source_has_its_own_tracks_states_and_order() -> None:
    shared = Notes()
    end = Pipeline(Fake(), sinks=[shared]).run(streams(Clip(4), Clip(6)))
    found = by_source(shared)
    assert {name: [r.frame.index for r in results] for name, results in found.items()} == {
        "a": list(range(4)),
        "b": list(range(6)),
    }
    for results in found.values():
        assert [int(r.track_id[0]) for r in results if r.track_id is not None] == [
            -1,
            *[1] * (len(results) - 1),
        ]
        assert [r.states for r in results] == [(str(i + 1),) for i in range(len(results))]
    assert [(one.name, one.summary.frames, one.summary.tracks) for one in end.streams] == [
        ("a", 4, 1),
        ("b", 6, 1),
    ]


def test_a_sources_own_sinks_get_its_results_alone() -> None:
    own = {"a": Notes(), "b": Notes()}
    Pipeline(Fake()).run(streams(Clip(4), Clip(6), sinks=own))
    assert {name: {r.source for r in sink.results} for name, sink in own.items()} == {"a": {"a"}, "b": {"b"}}
    assert [len(sink.results) for sink in own.values()] == [4, 6]


@pytest.mark.parametrize(("max_batch", "most"), [(1, 1), (2, 2), (None, 3)])
def test_frames_go_to_the_network_together_as_far_as_it_takes_them(max_batch: int | None, most: int) -> None:
    detector, shared = Fake(), Notes()
    Pipeline(detector, sinks=[shared], max_batch=max_batch).run(streams(Clip(9), Clip(9), Clip(9)))
    assert sum(detector.batches) == 27
    assert max(detector.batches) <= most
    assert {r.stages_ms["inference"] for r in shared.results} == {10.0}  # an equal share of the call


def test_frames_that_wait_at_once_are_one_batch() -> None:
    hold = Event()

    class Patient(Fake):
        """Waits in its first call, until the other sources have sent what they have."""

        def timed_batch(self, images_bgr: list[NDArray[np.uint8]]) -> Any:
            if not self.batches:
                hold.wait()
            return super().timed_batch(images_bgr)

    class Last(Clip):
        def frames(self) -> Iterator[Frame]:
            for frame in super().frames():
                yield frame
                if frame.index == 1:  # both are asked for the third frame: two of each wait
                    waiting.append(self)
                if len(waiting) == 2:
                    hold.set()

    waiting: list[Any] = []
    detector = Patient()
    Pipeline(detector, max_batch=None).run(streams(Last(5), Last(5)))
    assert 2 in detector.batches


def test_a_source_that_fails_ends_alone(capsys: pytest.CaptureFixture[str]) -> None:
    own, shared = {"a": Notes(), "b": Notes()}, Notes()
    error = DataError("a is cut off", hint="copy it")
    end = Pipeline(Fake(), sinks=[shared]).run(streams(Clip(2, error=error), Clip(50), sinks=own))
    assert [(one.error, one.is_complete) for one in end.streams] == [(error, False), (None, True)]
    assert [one.summary.frames for one in end.streams] == [2, 50]
    assert (own["a"].closed, own["b"].closed, shared.closed) == ([False], [True], [False])
    assert "a: a is cut off" in capsys.readouterr().err


def test_a_sink_of_one_source_that_fails_ends_that_source(capsys: pytest.CaptureFixture[str]) -> None:
    own = {"a": Notes(fails_at=1), "b": Notes()}
    end = Pipeline(Fake()).run(streams(Clip(30), Clip(30), sinks=own))
    assert [type(one.error) for one in end.streams] == [UsageError, type(None)]
    assert [len(sink.results) for sink in own.values()] == [1, 30]
    assert (own["a"].closed, own["b"].closed) == ([False], [True])
    assert "a: the disk is full" in capsys.readouterr().err


def test_a_sink_of_all_sources_that_fails_ends_the_run() -> None:
    own, shared = {"a": Notes(), "b": Notes()}, Notes(fails_at=3)
    with pytest.raises(UsageError, match="the disk is full"):
        Pipeline(Fake(), sinks=[shared]).run(streams(Clip(30), Clip(30), sinks=own))
    assert own["a"].closed == own["b"].closed == shared.closed == [False]


def test_a_bug_in_one_source_ends_the_run() -> None:
    own = {"a": Notes(), "b": Notes()}
    with pytest.raises(ZeroDivisionError):
        Pipeline(Fake()).run(streams(Clip(3, error=ZeroDivisionError()), Clip(9000), sinks=own))
    assert own["a"].closed == own["b"].closed == [False]


def test_a_sink_may_end_the_run_of_all_sources() -> None:
    shared = Notes(enough_after=5)
    end = Pipeline(Fake(), sinks=[shared]).run(streams(Clip(900), Clip(900)))
    assert len(shared.results) == sum(one.summary.frames for one in end.streams) == 5


def test_the_largest_number_of_frames_counts_for_each_source() -> None:
    shared = Notes()
    end = Pipeline(Fake(), sinks=[shared]).run(streams(Clip(900), Clip(2), Clip(900)), max_frames=5)
    assert [one.summary.frames for one in end.streams] == [5, 2, 5]
    assert all(one.is_complete for one in end.streams)
    assert shared.closed == [True]


def test_a_camera_that_is_gone_leaves_a_file_to_its_end() -> None:
    gone = DeviceError("camera has sent nothing", hint="check the cable")
    end = Pipeline(Fake()).run(streams(Clip(1, is_live=True, error=gone), Clip(40)))
    assert end.streams[0].error is gone
    assert end.streams[1].summary.frames == 40


def test_of_cameras_drops_are_counted_by_cause() -> None:
    end_of_camera = Event()

    class Camera(Clip):
        def frames(self) -> Iterator[Frame]:
            yield from super().frames()
            self.drops["decode"] = 2
            end_of_camera.set()

    class Slow(Fake):
        def timed_batch(self, images_bgr: list[NDArray[np.uint8]]) -> Any:
            end_of_camera.wait()
            return super().timed_batch(images_bgr)

    end = Pipeline(Slow()).run(streams(Camera(20, is_live=True), Clip(3)))
    summary = end.streams[0].summary
    assert summary.drops == {"replaced": 20 - summary.frames, "decode": 2}
    assert summary.dropped == 22 - summary.frames
    assert end.streams[1].summary.drops == {}


def test_an_interrupt_ends_cameras_well_and_breaks_files_off() -> None:
    own = {"a": Notes(), "b": Notes()}
    sources = (Clip(1, is_live=True, hold=Event()), Clip(9000, error=KeyboardInterrupt()))

    class Interrupting(Fake):
        def timed_batch(self, images_bgr: list[NDArray[np.uint8]]) -> Any:
            if len(self.batches) == 20:
                raise KeyboardInterrupt
            return super().timed_batch(images_bgr)

    end = Pipeline(Interrupting()).run(streams(*sources, sinks=own))
    assert isinstance(end.interrupted, KeyboardInterrupt)
    assert [one.is_complete for one in end.streams] == [True, False]
    assert (own["a"].closed, own["b"].closed) == ([True], [False])


def test_a_slow_sink_gets_every_frame_of_a_file_in_order_in_a_thread_of_its_own() -> None:
    hold = Event()
    slow = Notes(hold=hold)

    class Opens(Notes):
        """Lets the slow sink go once as many results wait as may."""

        def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
            if result.frame.index == 2:
                hold.set()
            return super().write(result, image_bgr)

    opens = Opens()
    Pipeline(Fake(), sinks=[opens]).run(streams(Clip(40), sinks={"a": slow}))
    assert [r.frame.index for r in slow.results] == list(range(40))
    assert slow.threads == {"sinks a"}
    assert opens.threads == {"MainThread"}


def test_what_one_sink_needs_drawn_is_drawn_once() -> None:
    drawn: list[int] = []

    def overlay(result: FrameResult) -> NDArray[np.uint8]:
        drawn.append(result.frame.index)
        return result.frame.image_bgr

    own, shared = Notes(), Notes()
    own.needs_overlay = shared.needs_overlay = True
    end = Pipeline(Fake(), overlay=overlay, sinks=[shared]).run(streams(Clip(5), sinks={"a": own}))
    assert drawn == list(range(5))
    assert {"draw", "write", "save"} <= set(end.streams[0].summary.stages_ms)


class Gatekeeper:
    """Admits the frames of one source alone."""

    def admits(self, source: str, *, is_live: bool) -> bool:
        return source == "b"


def test_a_gate_decides_which_frames_are_processed() -> None:
    end = Pipeline(Fake(), gate=Gatekeeper()).run(streams(Clip(5), Clip(5)))
    assert [one.summary.frames for one in end.streams] == [0, 5]
