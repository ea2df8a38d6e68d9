"""A slow disk or viewer through the whole pipeline: a camera drops frames, a file waits.

Time is counted in frames of the camera, which sends a number of them during each write of the sink.
"""

from collections.abc import Iterator, Mapping
from threading import Condition
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.spec import ModelSpec
from runtime.decoders.reader import Grabbed
from runtime.frames import Frame
from runtime.pipeline import FrameResult, Pipeline, RunEnd, Stream
from runtime.sources._live import LiveSource
from runtime.streams.sink_thread import WAITING
from runtime.streams.waiting_frames import AHEAD

PER_WRITE = 5  # frames that the camera sends while one result is written
WRITES = 60
WAIT_S = 10.0


class Finds:
    """Finds nothing, at once."""

    spec = ModelSpec(name="fake", input_hw=(32, 32), classes=("red", "green"))

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        return self.timed(image_bgr)[0]

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
        return nothing, {"inference": 1.0}

    def timed_batch(self, images_bgr: Any) -> tuple[list[Detections], dict[str, float]]:
        return [self(image) for image in images_bgr], {"inference": 1.0}


class Camera:
    """Sends as many frames as it is allowed to; see ``runtime.decoders.reader.Reader``."""

    decoder, fps, total, failed = "fake", 30.0, None, 0

    def __init__(self) -> None:
        self._changed = Condition()
        self.sent, self._allowed, self._stopped = 0, 1, False

    def grab(self) -> Grabbed | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self.sent < self._allowed)
            if self._stopped:
                return None
            self.sent += 1
            index = self.sent - 1
            self._changed.notify_all()
        return Grabbed(
            to_bgr=lambda: np.zeros((4, 4, 3), np.uint8), captured_s=float(index), stamp_s=None, decode_ms=0.0
        )

    def send(self, count: int) -> None:
        """Let it send more frames, and wait until it has sent them."""
        with self._changed:
            self._allowed += count
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self.sent >= self._allowed, WAIT_S)

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        pass


class SlowSink:
    """During each write the camera sends ``PER_WRITE`` frames."""

    needs_overlay = False

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self.indices: list[int] = []
        self.ages: list[float] = []

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        self._camera.send(PER_WRITE)
        self.indices.append(result.frame.index)
        self.ages.append(self._camera.sent - result.frame.captured_s)
        return len(self.indices) < WRITES

    def close(self, *, complete: bool) -> tuple[()]:
        return ()


@pytest.mark.parametrize("is_shared", [False, True], ids=["recorder", "viewer"])
def test_a_slow_sink_makes_a_camera_drop_frames_and_their_age_stays_bounded(*, is_shared: bool) -> None:
    camera = Camera()
    source: Any = LiveSource(lambda: camera, "fake", retry=0)
    sink: Any = SlowSink(camera)
    pipeline = Pipeline(Finds(), sinks=[sink] if is_shared else [], concurrency=3)
    try:
        end = pipeline.run([Stream(source=source, name="cam", sinks=[] if is_shared else [sink])])
    finally:
        camera.stop()
        source.close()
    summary = end.streams[0].summary
    assert sink.indices[0] == 0
    assert sink.indices == sorted(set(sink.indices))
    # Results that wait, the one that waits for room, and the frame taken meanwhile; each for one write.
    waiting = 0 if is_shared else WAITING
    assert max(sink.ages) <= PER_WRITE * (waiting + 3)
    assert max(sink.ages[WRITES // 2 :]) <= max(sink.ages[: WRITES // 2]) + PER_WRITE  # it does not grow
    assert set(summary.drops) <= {"replaced", "decode_error", "gap"}
    assert summary.drops["replaced"] == summary.dropped
    assert summary.dropped >= camera.sent - WRITES - waiting - 3 > WRITES


class File:
    """Counts how many frames it has given."""

    is_live, fps, total, dropped, doubts, broke_off = False, 10.0, 50, 0, (), None
    drops: Mapping[str, int] = {}

    def __init__(self) -> None:
        self._changed = Condition()
        self.given = 0

    def frames(self) -> Iterator[Frame]:
        for index in range(self.total):
            with self._changed:
                self.given += 1
                self._changed.notify_all()
            image = np.zeros((4, 4, 3), np.uint8)
            yield Frame(image_bgr=image, index=index, captured_s=0.0, name="x", decode_ms=0.0)

    def wait_until(self, given: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.given >= min(given, self.total), WAIT_S)

    def close(self) -> None:
        pass


class SlowerSink:
    """Writes each result only after the file has given all frames for which there is room before it."""

    needs_overlay = False

    def __init__(self, file: File) -> None:
        self._file = file
        self.indices: list[int] = []
        self.most = 0

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        self._file.wait_until(len(self.indices) + AHEAD + WAITING)
        self.most = max(self.most, self._file.given - len(self.indices))
        self.indices.append(result.frame.index)
        return True

    def close(self, *, complete: bool) -> tuple[()]:
        return ()


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_file_waits_for_a_slow_sink_and_loses_nothing(concurrency: int) -> None:
    file = File()
    sink: Any = SlowerSink(file)
    stream: Any = Stream(source=file, name="file", sinks=[sink])  # type: ignore[arg-type]
    end: RunEnd = Pipeline(Finds(), concurrency=concurrency).run([stream])
    assert sink.indices == list(range(file.total))
    # Being decoded and waiting, in detection, waiting for the sink, waiting for room, being written.
    assert sink.most <= (AHEAD + 1) + (concurrency + 1) + WAITING + 2
    assert end.streams[0].summary.dropped == 0
