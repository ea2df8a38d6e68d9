"""Frames of files are detected several at a time, and nothing else changes."""

from collections.abc import Iterator, Mapping
from threading import Barrier, Event, current_thread, main_thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.errors import ArtifactError, DataError
from edgestill.spec import ModelSpec
from runtime.frames import Frame
from runtime.pipeline import FrameResult, Pipeline, RunEnd, Stream
from runtime.streams.detection_queue import DetectionQueue
from runtime.tracking import Tracker

WAIT_S = 5.0


class Clip:
    """Frames whose brightness is their index."""

    fps, total, dropped, doubts, broke_off = 10.0, None, 0, (), None
    drops: Mapping[str, int] = {}

    def __init__(self, count: int, *, is_live: bool = False, error: Exception | None = None) -> None:
        self.is_live, self._count, self._error = is_live, count, error

    def frames(self) -> Iterator[Frame]:
        yield from map(frame_of, range(self._count))
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        pass


class Finds:
    """A box at the brightness of the frame; an error at a brightness of ``bad``. Notes who called it."""

    spec = ModelSpec(name="fake", input_hw=(32, 32), classes=("red", "green"))

    def __init__(self, bad: int | None = None) -> None:
        self.bad = bad
        self.callers: set[Any] = set()

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        return self.timed(image_bgr)[0]

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        self.callers.add(current_thread())
        value = int(image_bgr[0, 0, 0])
        if value == self.bad:
            raise ArtifactError("the model's output holds NaN", hint="use FP32")
        box = np.array([[0, 0, 5, 5]], np.float32) + value
        return Detections(box, np.array([0.9], np.float32), np.array([0])), {"inference": 1.0}

    def timed_batch(self, images_bgr: Any) -> tuple[list[Detections], dict[str, float]]:
        return [self(image) for image in images_bgr], {"inference": 1.0}


class Notes:
    needs_overlay = False

    def __init__(self, enough_after: int = 1000) -> None:
        self.results: list[FrameResult] = []
        self.enough_after = enough_after

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        self.results.append(result)
        return len(self.results) < self.enough_after

    def close(self, *, complete: bool) -> tuple[()]:
        return ()


def frame_of(index: int) -> Frame:
    image = np.full((20, 30, 3), index, np.uint8)
    return Frame(image_bgr=image, index=index, captured_s=0.0, name="x", decode_ms=1.0, time_s=index / 10)


def run(
    source: Clip,
    concurrency: int,
    *,
    detector: Finds | None = None,
    notes: Notes | None = None,
    **options: Any,
) -> tuple[RunEnd, Notes]:
    notes = notes or Notes()
    pipeline = Pipeline(detector or Finds(), sinks=[notes], concurrency=concurrency)
    stream: Any = Stream(source=source, name="clip", tracker=Tracker())  # type: ignore[arg-type]
    return pipeline.run([stream], **options), notes


def test_calls_run_at_the_same_time_and_leave_in_order() -> None:
    both, second_is_done = Barrier(2, timeout=WAIT_S), Event()

    class Overtaking(Finds):
        def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
            both.wait()  # neither goes on before the other has begun
            if image_bgr[0, 0, 0] == 1:
                second_is_done.set()
            else:
                assert second_is_done.wait(WAIT_S)
            return super().timed(image_bgr)

    with DetectionQueue(Overtaking(), 2) as queue:
        queue.put([(0, frame_of(0))])
        queue.put([(0, frame_of(1))])
        assert list(queue.take()) == []  # they stay, as long as nothing follows that keeps the threads busy
        left = [detected.frame.index for group in queue.take(rest=True) for detected in group]
    assert left == [0, 1]


def test_the_results_are_those_of_one_at_a_time() -> None:
    (_, one), (_, several) = run(Clip(40), 1), run(Clip(40), 3)

    def told(notes: Notes) -> list[Any]:
        return [(r.frame.index, r.detections.xyxy.tolist(), r.track_id) for r in notes.results]

    assert str(told(one)) == str(told(several))
    assert [index for index, _, _ in told(several)] == list(range(40))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_the_run_ends_after_exactly_so_many_frames(concurrency: int) -> None:
    end, notes = run(Clip(40), concurrency, max_frames=7)
    assert (end.streams[0].summary.frames, len(notes.results)) == (7, 7)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_sink_that_has_enough_gets_no_further_frame(concurrency: int) -> None:
    end, notes = run(Clip(40), concurrency, notes=Notes(enough_after=5))
    assert (end.streams[0].summary.frames, len(notes.results)) == (5, 5)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_frames_before_a_broken_one_are_not_lost(concurrency: int) -> None:
    notes = Notes()
    with pytest.raises(DataError, match="cut off"):
        run(Clip(8, error=DataError("cut off", hint="copy it")), concurrency, notes=notes)
    assert [result.frame.index for result in notes.results] == list(range(8))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_an_error_of_the_detector_is_raised_at_its_frame(concurrency: int) -> None:
    notes = Notes()
    with pytest.raises(ArtifactError, match="NaN"):
        run(Clip(20), concurrency, detector=Finds(bad=6), notes=notes)
    assert [result.frame.index for result in notes.results] == list(range(6))


def test_frames_of_a_camera_are_detected_one_at_a_time() -> None:
    detector = Finds()
    run(Clip(8, is_live=True), 3, detector=detector)
    assert detector.callers == {main_thread()}
    run(Clip(8), 3, detector=detector)
    assert len(detector.callers) > 1
