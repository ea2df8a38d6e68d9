"""Source, detector, tracker and sinks at work together."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.errors import DataError, DeviceError
from edgestill.spec import ModelSpec
from runtime.decoders.reader import Grabbed
from runtime.frames import Frame, open_source
from runtime.pipeline import FrameResult, Pipeline, RunEnd, Stream, Summary
from runtime.sinks.video_writer import VideoSink
from runtime.sources._live import LiveSource
from runtime.tracking import Tracked, Tracker

SPEC = ModelSpec(name="fake", input_hw=(32, 32), classes=("red", "green"))


class Clip:
    """Frames whose brightness is their index."""

    dropped = 7
    drops: ClassVar = {"replaced": 5, "decode": 2}
    doubts = ()
    broke_off = None

    def __init__(
        self, total: int, *, is_live: bool = False, error: BaseException | None = None, fps: float = 10
    ) -> None:
        self.total: int | None = None if is_live else total
        self.fps: float | None = fps
        self.is_live = is_live
        self._count, self._error = total, error

    def frames(self) -> Iterator[Frame]:
        for i in range(self._count):
            image = np.full((20, 30, 3), i, np.uint8)
            yield Frame(image_bgr=image, index=i, captured_s=0.0, name="clip", decode_ms=2.5, time_s=i / 10)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        pass


class Fake:
    """Finds one box in every frame: red, and green from frame 5 on."""

    spec = SPEC

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        return self.timed(image_bgr)[0]

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        box = np.array([[5, 5, 15, 15]], np.float32) + image_bgr[0, 0, 0]  # equal boxes are one picture
        class_id = np.array([int(image_bgr[0, 0, 0] >= 5)])
        stages_ms = {"letterbox": 1.0, "inference": 10.0, "postprocess": 0.5}
        return Detections(box, np.array([0.9], np.float32), class_id), stages_ms


class Notes:
    """A sink that remembers."""

    def __init__(self, *, needs_overlay: bool = False, enough_after: int = 1000) -> None:
        self.needs_overlay = needs_overlay
        self.results: list[FrameResult] = []
        self.pictures: list[NDArray[np.uint8]] = []
        self.closed: list[bool] = []
        self._enough_after = enough_after

    def write(self, result: FrameResult, picture: NDArray[np.uint8]) -> bool:
        self.results.append(result)
        self.pictures.append(picture)
        return len(self.results) < self._enough_after

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        self.closed.append(complete)
        return (Path("notes"),)


class Shout:
    """A judge that says the class aloud."""

    def update(self, tracked: Tracked, time_s: float) -> tuple[str, ...]:
        return tuple(SPEC.classes[i].upper() for i in tracked.detections.class_id)


def white(result: FrameResult) -> NDArray[np.uint8]:
    return np.full_like(result.frame.image_bgr, 255)


def end_of(source: Any, *, sinks: Any = (), overlay: Any = None, **options: Any) -> RunEnd:
    """Run one source, with its sinks in the pipeline."""
    own = {name: options.pop(name) for name in ("tracker", "track_classifier") if name in options}
    pipeline = Pipeline(Fake(), overlay=overlay, sinks=sinks)
    return pipeline.run([Stream(source=source, name="clip", **own)], **options)


def run(source: Any, **options: Any) -> Summary:
    """The figures of ``end_of``."""
    return end_of(source, **options).streams[0].summary


def record(source: Any, sink: Any) -> RunEnd:
    """Run one source with a sink of its own."""
    return Pipeline(Fake()).run([Stream(source=source, name="clip", sinks=[sink])])


def test_every_frame_reaches_every_sink() -> None:
    a, b = Notes(), Notes()
    run(Clip(8), sinks=(a, b))
    assert [r.frame.index for r in a.results] == list(range(8))
    assert [r.frame.index for r in b.results] == list(range(8))


def test_the_summary_counts() -> None:
    end = Pipeline(Fake(), sinks=(Notes(),)).run([Stream(source=Clip(8), name="clip", sinks=[Notes()])])
    summary = end.streams[0].summary
    assert (summary.frames, summary.dropped, summary.drops) == (8, 7, {"replaced": 5, "decode": 2})
    assert summary.detections == {"red": 5, "green": 3}
    assert (summary.files, end.files) == ((Path("notes"),), (Path("notes"),))
    assert summary.tracks is None
    assert (end.interrupted, end.streams[0].error, end.streams[0].is_complete) == (None, None, True)


def test_the_stages_are_medians_in_their_order() -> None:
    summary = run(Clip(8), tracker=Tracker(), overlay=white, sinks=(Notes(needs_overlay=True),))
    stages = ["decode", "letterbox", "inference", "postprocess", "track", "draw", "write"]
    assert list(summary.stages_ms) == stages
    assert summary.stages_ms["decode"] == 2.5
    assert summary.stages_ms["inference"] == 10


def test_the_run_stops_after_so_many_frames() -> None:
    assert run(Clip(8), max_frames=3).frames == 3


def test_a_sink_may_end_the_run_and_the_others_get_the_last_frame() -> None:
    first, second = Notes(enough_after=4), Notes()
    summary = run(Clip(8), sinks=(first, second))
    assert (summary.frames, len(second.results)) == (4, 4)
    assert first.closed == [True]


def test_tracks_are_counted_and_told() -> None:
    sink = Notes()
    summary = run(Clip(4), tracker=Tracker(), sinks=(sink,))
    assert summary.tracks == 1
    assert [r.track_id.tolist() for r in sink.results if r.track_id is not None] == [[-1], [1], [1], [1]]


def test_the_judges_word_comes_with_the_detection() -> None:
    sink = Notes()
    run(Clip(6), tracker=Tracker(), track_classifier=Shout(), sinks=(sink,))
    assert sink.results[0].states == ("RED",)
    assert sink.results[5].states == ("GREEN",)


def test_tracks_and_states_begin_anew_after_a_gap() -> None:
    class Gap(Clip):
        def frames(self) -> Iterator[Frame]:
            for frame in super().frames():
                yield replace(frame, after_gap=frame.index == 4)

    sink, ended = Notes(), []

    class Listener(Shout):
        def update(self, tracked: Tracked, time_s: float) -> tuple[str, ...]:
            ended.append(tracked.ended)
            return super().update(tracked, time_s)

    run(Gap(5 + 3), tracker=Tracker(), track_classifier=Listener(), sinks=(sink,))
    ids = [int(r.track_id[0]) for r in sink.results if r.track_id is not None]
    # The box becomes green with frame 5, and so another object
    assert ids == [-1, 1, 1, 1, -1, -1, 2, 2]
    assert ended[4] == (1,)


class Every:
    """A gate that lets every ``n``-th frame through."""

    def __init__(self, n: int) -> None:
        self.asked: list[bool] = []
        self._n = n

    def admits(self, source: str, *, is_live: bool) -> bool:
        self.asked.append(is_live)
        return len(self.asked) % self._n == 0


def test_frames_that_the_gate_does_not_admit_are_discarded() -> None:
    sink, gate = Notes(), Every(3)
    end = Pipeline(Fake(), sinks=(sink,), gate=gate).run([Stream(source=Clip(8), name="clip")])
    assert [r.frame.index for r in sink.results] == [2, 5]
    assert (end.streams[0].summary.frames, gate.asked) == (2, [False] * 8)


def test_without_a_tracker_there_is_nothing_to_judge() -> None:
    sink = Notes()
    run(Clip(1), track_classifier=Shout(), sinks=(sink,))
    assert (sink.results[0].states, sink.results[0].track_id) == (None, None)


def test_nothing_is_drawn_that_nobody_wants() -> None:
    def never(result: FrameResult) -> NDArray[np.uint8]:
        raise AssertionError

    sink = Notes(needs_overlay=False)
    run(Clip(2), overlay=never, sinks=(sink,))
    assert (sink.pictures[1] == 1).all()  # the frame itself


def test_what_is_drawn_reaches_the_sink() -> None:
    sink = Notes(needs_overlay=True)
    run(Clip(2), overlay=white, sinks=(sink,))
    assert (sink.pictures[1] == 255).all()


def test_a_broken_frame_ends_the_run_and_the_sinks_know() -> None:
    sink = Notes()
    with pytest.raises(DataError, match="cut off"):
        run(Clip(3, error=DataError("cut off", hint="copy")), sinks=(sink,))
    assert sink.closed == [False]


@pytest.mark.parametrize("is_live", [True, False])
def test_ctrl_c_ends_a_camera_well_and_breaks_a_file_off(is_live: bool) -> None:
    shared, own = Notes(), Notes()
    source = Clip(3, is_live=is_live, error=KeyboardInterrupt())
    end = Pipeline(Fake(), sinks=(shared,)).run([Stream(source=source, name="clip", sinks=[own])])
    assert isinstance(end.interrupted, KeyboardInterrupt)
    assert (end.streams[0].summary.frames, end.streams[0].is_complete) == (3, is_live)
    assert shared.closed == own.closed == [is_live]


@pytest.mark.parametrize("error", [DeviceError("gone", hint="cable"), ValueError("a bug"), MemoryError()])
def test_what_a_camera_sent_is_kept_whatever_ends_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    sink = VideoSink(tmp_path / "drive.mp4", 10, force=False, is_live=True)
    with pytest.raises(type(error)):
        record(Clip(31, is_live=True, error=error), sink)
    assert f"31 frames in 3.0 s: {tmp_path / 'drive.mp4'}" in capsys.readouterr().err
    assert len(list(open_source(tmp_path / "drive.mp4").frames())) == 31


def test_a_camera_that_vanishes_leaves_its_recording(tmp_path: Path) -> None:
    class Camera:
        left = 60

        decoder, fps, total, failed = "fake", 20.0, None, 0

        def grab(self) -> Grabbed | None:
            self.left -= 1
            sleep(0.002)
            image = np.full((48, 64, 3), 90, np.uint8)
            return (
                Grabbed(to_bgr=lambda: image, captured_s=perf_counter(), stamp_s=None)
                if self.left >= 0
                else None
            )

        def stop(self) -> None:
            pass

        def close(self) -> None:
            pass

    sink = VideoSink(tmp_path / "drive.mp4", 20, force=False, is_live=True)
    with pytest.raises(DeviceError, match="camera stopped sending"):
        record(LiveSource(Camera, "camera", retry=0), sink)
    assert [p.name for p in tmp_path.iterdir()] == ["drive.mp4"]
    assert list(open_source(tmp_path / "drive.mp4").frames())[-1].time_s > 0.05


def test_a_frame_of_another_size_ends_a_recording_that_stays(tmp_path: Path) -> None:
    class TwoModes(Clip):
        def frames(self) -> Iterator[Frame]:
            yield from super().frames()
            image = np.zeros((40, 60, 3), np.uint8)
            yield Frame(image_bgr=image, index=9, captured_s=0.0, name="clip", decode_ms=1.0, time_s=9.0)

    sink = VideoSink(tmp_path / "drive.mp4", 20, force=False, is_live=True)
    with pytest.raises(DataError, match="60x40, the video began with 30x20"):
        record(TwoModes(5, is_live=True), sink)
    assert len(list(open_source(tmp_path / "drive.mp4").frames())) == 5


def test_a_file_that_broke_off_leaves_no_half_result(tmp_path: Path) -> None:
    (tmp_path / "drive.mp4").write_bytes(b"older")
    sink = VideoSink(tmp_path / "drive.mp4", 10, force=True)
    with pytest.raises(DataError, match="cut off"):
        record(Clip(3, error=DataError("cut off", hint="copy")), sink)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"drive.mp4": b"older"}


def test_a_sink_that_fails_at_the_end_keeps_no_other_from_closing() -> None:
    class Broken(Notes):
        def close(self, *, complete: bool) -> tuple[Path, ...]:
            raise OSError(5, "Input/output error")

    other = Notes()
    with pytest.raises(OSError, match="Input/output error"):
        run(Clip(3), sinks=(Broken(), other))
    assert other.closed == [True]


def test_the_age_of_frames_is_told_for_a_live_source_alone() -> None:
    camera, file = run(Clip(40, is_live=True)), run(Clip(2))
    assert camera.age_ms is not None
    assert camera.age_p95_ms is not None
    assert camera.age_p99_ms is not None
    assert 0 < camera.age_ms <= camera.age_p95_ms <= camera.age_p99_ms
    assert (file.age_ms, file.age_p95_ms, file.age_p99_ms) == (None, None, None)


def test_progress_is_told_frame_by_frame() -> None:
    calls = []
    run(Clip(5), advance=lambda n=1, note="": calls.append(n))
    assert calls == [1] * 5
