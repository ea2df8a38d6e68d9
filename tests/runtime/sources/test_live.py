"""A camera gives its newest frame, and says what it dropped."""

from queue import Queue
from threading import Event
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.errors import DeviceError
from runtime.sources._live import LiveSource

WAIT_S = 5.0


class FakeCamera:
    """Sends the frames that a test puts in; None ends it."""

    def __init__(self) -> None:
        self.frames: Queue[int | None] = Queue()
        self.released = Event()
        self._now = 0

    def grab(self) -> bool:
        value = self.frames.get(timeout=WAIT_S)
        self._now = value or 0
        return value is not None

    def retrieve(self) -> tuple[bool, NDArray[Any]]:
        return self._now >= 0, np.full((4, 4, 3), max(self._now, 0), np.uint8)

    def release(self) -> None:
        self.released.set()


@pytest.fixture
def camera() -> FakeCamera:
    return FakeCamera()


def filled(camera: FakeCamera, *values: int | None) -> LiveSource:
    """A source whose camera has sent these and ended."""
    for value in values:
        camera.frames.put(value)
    source = LiveSource(camera, "fake", 30.0)
    assert camera.released.wait(WAIT_S)
    return source


def test_only_the_newest_frame_is_given(camera: FakeCamera) -> None:
    frame = next(filled(camera, 10, 20, 30, None).frames())
    assert (frame.index, int(frame.image_bgr[0, 0, 0])) == (2, 30)


def test_the_older_ones_are_counted(camera: FakeCamera) -> None:
    assert filled(camera, 10, 20, 30, None).dropped == 2


def test_frames_that_are_taken_in_time_are_all_given(camera: FakeCamera) -> None:
    source = LiveSource(camera, "fake", 30.0)
    frames = source.frames()
    seen = []
    for value in (10, 20, 30):
        camera.frames.put(value)
        seen.append(int(next(frames).image_bgr[0, 0, 0]))
    camera.frames.put(None)
    assert (seen, source.dropped) == ([10, 20, 30], 0)


def test_time_runs_from_the_first_frame(camera: FakeCamera) -> None:
    source = LiveSource(camera, "fake", 30.0)
    frames = source.frames()
    camera.frames.put(10)
    first = next(frames)
    camera.frames.put(20)
    second = next(frames)
    camera.frames.put(None)
    assert first.time_s == 0
    assert second.time_s == pytest.approx(second.captured_s - first.captured_s)


def test_a_stream_with_time_stamps_has_its_own_times(camera: FakeCamera) -> None:
    stamps = iter([7.0, 7.25, 7.3])
    source = LiveSource(camera, "fake", 30.0, stamp_s=lambda: next(stamps))
    frames = source.frames()
    times = []
    for value in (10, 20, 30):
        camera.frames.put(value)
        times.append(next(frames).time_s)
    camera.frames.put(None)
    assert times == pytest.approx([0, 0.25, 0.3])


def test_a_camera_that_ends_is_a_device_error(camera: FakeCamera) -> None:
    frames = filled(camera, 10, None).frames()
    next(frames)
    with pytest.raises(DeviceError, match="fake stopped sending"):
        next(frames)


def test_a_frame_that_cannot_be_decoded_ends_it(camera: FakeCamera) -> None:
    with pytest.raises(DeviceError, match="fake stopped sending"):
        next(filled(camera, -1).frames())


def test_a_camera_that_hangs_is_a_device_error(camera: FakeCamera) -> None:
    source = LiveSource(camera, "fake", 30.0, stall_s=0.05)
    with pytest.raises(DeviceError, match=r"has sent nothing for 0\.05 s"):
        next(source.frames())
    camera.frames.put(None)


def test_closing_frees_the_camera(camera: FakeCamera) -> None:
    source = LiveSource(camera, "fake", 30.0)
    camera.frames.put(10)
    camera.frames.put(20)
    source.close()
    source.close()
    camera.frames.put(None)
    assert camera.released.wait(WAIT_S)


def test_it_is_live_and_has_no_end(camera: FakeCamera) -> None:
    source = filled(camera, None)
    assert source.is_live
    assert (source.total, source.fps) == (None, 30.0)
