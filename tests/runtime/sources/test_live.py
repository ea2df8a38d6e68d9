"""A camera gives its newest frame, says what it dropped, and is opened again when it was gone."""

from collections.abc import Callable
from queue import Queue
from threading import Event
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from edgestill.errors import DataError, DeviceError
from runtime.decoders.reader import DamagedFrameError, Grabbed
from runtime.sources._attempts import BackOff
from runtime.sources._live import LiveSource

WAIT_S = 5.0
SOON = BackOff(first_s=0.001, most_s=0.002)
BAD = -1


class FakeCamera:
    """Sends the frames that a test puts in, by brightness; None ends it, ``BAD`` cannot be converted."""

    def __init__(self, *values: int | None, stamps: tuple[float, ...] = (), fps: float | None = 30.0) -> None:
        self.decoder, self.fps, self.total, self.failed = "fake", fps, None, 0
        self.frames: Queue[int | None] = Queue()
        self.closed = Event()
        self.stopped = Event()
        self.converted: list[int] = []
        self._stamps, self._now = iter(stamps), 100.0
        for value in values:
            self.frames.put(value)

    def grab(self) -> Grabbed | None:
        value = self.frames.get(timeout=WAIT_S)
        if value is None:
            return None
        self._now += 1 / 30

        def to_bgr() -> Any:
            if value == BAD:
                raise DamagedFrameError
            self.converted.append(value)
            return np.full((4, 4, 3), value, np.uint8)

        return Grabbed(to_bgr=to_bgr, captured_s=self._now, stamp_s=next(self._stamps, None), decode_ms=2.0)

    def stop(self) -> None:
        self.stopped.set()

    def close(self) -> None:
        self.closed.set()


def in_turn(*cameras: FakeCamera | Exception) -> Callable[[], FakeCamera]:
    """A ``connect`` that gives one camera, or error, after the other; then it never opens."""
    waiting = list(cameras)

    def connect() -> FakeCamera:
        if not waiting:
            raise DeviceError("fake does not open", hint="plug it in")
        one = waiting.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    return connect


def filled(*values: int | None) -> LiveSource:
    """A source whose camera has sent these and ended."""
    camera = FakeCamera(*values)
    source = LiveSource(in_turn(camera), "fake", retry=0)
    assert camera.closed.wait(WAIT_S)
    return source


def gone() -> DeviceError:
    return DeviceError("fake does not open", hint="plug it in")


def brightness(frame: Any) -> int:
    return int(frame.image_bgr[0, 0, 0])


def test_only_the_newest_frame_is_given() -> None:
    frame = next(filled(10, 20, 30, None).frames())
    assert (frame.index, brightness(frame)) == (2, 30)


def test_the_older_ones_are_counted_and_not_converted() -> None:
    camera = FakeCamera(10, 20, 30, None)
    source = LiveSource(in_turn(camera), "fake", retry=0)
    assert camera.closed.wait(WAIT_S)
    next(source.frames())
    assert source.drops == {"replaced": 2, "decode_error": 0, "gap": 0}
    assert (source.dropped, camera.converted) == (2, [30])


def test_frames_that_are_taken_in_time_are_all_given() -> None:
    camera = FakeCamera()
    source = LiveSource(in_turn(camera), "fake", retry=0)
    frames = source.frames()
    seen = []
    for value in (10, 20, 30):
        camera.frames.put(value)
        seen.append(brightness(next(frames)))
    camera.frames.put(None)
    assert (seen, source.dropped) == ([10, 20, 30], 0)


def test_time_runs_from_the_first_frame() -> None:
    camera = FakeCamera()
    frames = LiveSource(in_turn(camera), "fake", retry=0).frames()
    camera.frames.put(10)
    first = next(frames)
    camera.frames.put(20)
    second = next(frames)
    camera.frames.put(None)
    assert first.time_s == 0
    assert second.time_s == pytest.approx(second.captured_s - first.captured_s)


def test_a_frame_has_the_time_of_its_capture_not_of_its_conversion() -> None:
    camera = FakeCamera(10, None)
    frame = next(LiveSource(in_turn(camera), "fake", retry=0).frames())
    assert frame.captured_s == pytest.approx(100 + 1 / 30)
    assert frame.decode_ms > 2.0


def test_a_stream_with_time_stamps_has_its_own_times() -> None:
    camera = FakeCamera(stamps=(7.0, 7.25, 7.3))
    frames = LiveSource(in_turn(camera), "fake", retry=0).frames()
    times = []
    for value in (10, 20, 30):
        camera.frames.put(value)
        times.append(next(frames).time_s)
    camera.frames.put(None)
    assert times == pytest.approx([0, 0.25, 0.3])


def test_without_retry_a_camera_that_ends_is_a_device_error() -> None:
    frames = filled(10, None).frames()
    next(frames)
    with pytest.raises(DeviceError, match="fake stopped sending"):
        next(frames)


def test_a_frame_that_cannot_be_decoded_is_counted_and_left_out() -> None:
    camera = FakeCamera(BAD)
    source = LiveSource(in_turn(camera), "fake", retry=0)
    frames = source.frames()
    camera.frames.put(20)
    # Whether the second frame comes before the first is taken is up to the threads
    assert brightness(next(frames)) == 20
    camera.frames.put(None)
    assert source.drops["decode_error"] + source.drops["replaced"] == 1


def test_what_the_decoder_could_not_decode_is_counted() -> None:
    camera = FakeCamera(10)
    source = LiveSource(in_turn(camera), "fake", retry=0)
    next(source.frames())
    camera.failed = 3
    assert source.drops["decode_error"] == 3
    camera.frames.put(None)


def test_a_camera_that_is_back_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = FakeCamera(10, None), FakeCamera()
    source = LiveSource(in_turn(first, gone(), gone(), second), "fake", back_off=SOON)
    frames = source.frames()
    before = next(frames)
    assert first.closed.wait(WAIT_S)
    second.frames.put(20)
    after = next(frames)
    second.frames.put(30)
    later = next(frames)
    source.close()
    second.frames.put(None)
    assert [f.after_gap for f in (before, after, later)] == [False, True, False]
    assert [f.index for f in (before, after, later)] == [0, 1, 2]
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "fake stopped sending; waiting for it"
    assert "fake is back after" in told[1]
    assert len(told) == 2


def test_the_mark_of_a_gap_is_not_lost_with_a_frame_that_is_replaced() -> None:
    first, second = FakeCamera(10, None), FakeCamera(20, 30, 40, None)
    source = LiveSource(in_turn(first, second), "fake", retry=1, back_off=SOON)
    assert second.closed.wait(WAIT_S)
    frame = next(source.frames())
    assert (brightness(frame), frame.after_gap) == (40, True)


def test_the_frames_of_a_gap_are_counted_by_its_length() -> None:
    first, second = FakeCamera(10, None, fps=10.0), FakeCamera(fps=10.0)
    source = LiveSource(in_turn(first, second), "fake", back_off=SOON)
    assert first.closed.wait(WAIT_S)
    second._now = perf_counter() + 3.0
    second.frames.put(20)
    frames = source.frames()
    while not next(frames).after_gap:
        pass
    source.close()
    second.frames.put(None)
    assert source.drops["gap"] == pytest.approx(30, abs=5)


def test_attempts_are_counted_from_the_last_frame() -> None:
    cameras = (FakeCamera(10, None), gone(), FakeCamera(20, None), gone(), FakeCamera(30, None))
    source = LiveSource(in_turn(*cameras), "fake", retry=2, back_off=SOON)
    assert cameras[-1].closed.wait(WAIT_S)  # type: ignore[union-attr]
    frames = source.frames()
    assert brightness(next(frames)) == 30
    with pytest.raises(DeviceError, match="did not open 2 times"):
        next(frames)


def test_a_camera_that_opens_and_sends_nothing_uses_up_the_attempts_too() -> None:
    cameras = (FakeCamera(10, None), FakeCamera(None), FakeCamera(None), FakeCamera(20, None))
    source = LiveSource(in_turn(*cameras), "fake", retry=2, back_off=SOON)
    assert cameras[2].closed.wait(WAIT_S)
    frames = source.frames()
    assert brightness(next(frames)) == 10
    with pytest.raises(DeviceError, match="fake stopped sending"):
        next(frames)


def test_another_error_while_opening_again_is_raised_in_the_consumer() -> None:
    source = LiveSource(in_turn(FakeCamera(10, None), DataError("no", hint="x")), "fake", back_off=SOON)
    frames = source.frames()
    next(frames)
    with pytest.raises(DataError, match="no"):
        next(frames)


def test_the_first_opening_fails_at_once() -> None:
    with pytest.raises(DeviceError, match="fake does not open"):
        LiveSource(in_turn(gone(), FakeCamera(10)), "fake", back_off=SOON)


def test_with_retry_the_first_opening_is_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    source = LiveSource(in_turn(gone(), gone(), FakeCamera(10, None)), "fake", retry=2, back_off=SOON)
    assert brightness(next(source.frames())) == 10
    assert "fake does not open; trying 2 more times" in capsys.readouterr().err
    with pytest.raises(DeviceError, match="fake does not open"):
        LiveSource(in_turn(gone(), gone(), gone(), FakeCamera(10)), "fake", retry=2, back_off=SOON)


def test_attempts_come_further_apart_up_to_a_limit() -> None:
    waits = [BackOff(first_s=0.25, most_s=2).seconds(i) for i in (0, 1, 2, 3, 4, 1000)]
    assert waits == [0.25, 0.5, 1, 2, 2, 2]


def test_a_driver_that_hangs_is_a_device_error_without_retry() -> None:
    camera = FakeCamera()
    source = LiveSource(in_turn(camera), "fake", retry=0, stall_s=0.05)
    with pytest.raises(DeviceError, match=r"has sent nothing for 0\.05 s"):
        next(source.frames())
    camera.frames.put(None)


def test_a_driver_that_hangs_and_goes_on_has_a_gap(capsys: pytest.CaptureFixture[str]) -> None:
    camera = FakeCamera()
    source = LiveSource(in_turn(camera), "fake", stall_s=0.05)
    told = Event()
    original = source._begin_gap

    def begin(what: str) -> None:
        original(what)
        told.set()
        camera.frames.put(10)

    source._begin_gap = begin  # type: ignore[method-assign]
    frame = next(source.frames())
    source.close()
    camera.frames.put(None)
    assert told.is_set()
    assert frame.after_gap
    assert "fake has sent nothing for 0.05 s; waiting for it" in capsys.readouterr().err


def test_closing_frees_the_camera_and_ends_the_frames() -> None:
    camera = FakeCamera(10)
    source = LiveSource(in_turn(camera), "fake")
    frames = source.frames()
    next(frames)
    camera.frames.put(None)
    source.close()
    source.close()
    assert camera.stopped.is_set()
    assert camera.closed.wait(WAIT_S)
    assert list(frames) == []


def test_closing_ends_the_waiting_for_a_camera_that_is_gone() -> None:
    source = LiveSource(in_turn(FakeCamera(10, None)), "fake", back_off=BackOff(first_s=600, most_s=600))
    frames = source.frames()
    next(frames)
    source.close()
    assert list(frames) == []


def test_it_is_live_and_has_no_end() -> None:
    source = filled(None)
    assert source.is_live
    assert (source.total, source.fps, source.decoder) == (None, 30.0, "fake")


@pytest.mark.parametrize("flip", [0, 4])
def test_images_are_turned_as_asked(flip: int) -> None:
    class Halves(FakeCamera):
        def grab(self) -> Grabbed | None:
            image = np.zeros((2, 4, 3), np.uint8)
            image[:, 2:] = 255
            grabbed = super().grab()
            return grabbed and Grabbed(to_bgr=lambda: image, captured_s=grabbed.captured_s, stamp_s=None)

    frame = next(LiveSource(in_turn(Halves(1, None)), "fake", retry=0, flip=flip).frames())
    assert brightness(frame) == (255 if flip else 0)
