"""What the pipeline allocates for a frame."""

import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.demo.lights import LightStates
from edgestill.demo.overlay import FrameOverlay
from edgestill.spec import ModelSpec, TensorSpec
from runtime.detector import ModelDetector
from runtime.frames import Frame
from runtime.pipeline import FrameResult, Pipeline, Stream
from runtime.sinks.video_writer import VideoSink
from runtime.tracking import Tracker

SPEC = ModelSpec(
    name="still",
    input_hw=(384, 640),
    classes=("red", "green"),
    strides=(32,),
    anchors_px=(((32.0, 32.0),),),
)
FRAME_HW = (1080, 1920)
FIRST, LAST = 20, 60


class StillBackend:
    """Finds the same light in every input, in memory of its own."""

    name, device, max_batch, concurrency = "still", "here", None, 2
    metadata: Mapping[str, str] = {}

    def __init__(self) -> None:
        rows = (384 // 32) * (640 // 32)
        self._output = np.zeros((1, rows, 7), np.float32)
        self._output[0, 5] = (300, 200, 20, 40, 0.9, 0.9, 0.1)
        self.inputs = (TensorSpec(name="images", shape=(1, 3, 384, 640), dtype="float32"),)
        self.outputs = (TensorSpec(name="output0", shape=self._output.shape, dtype="float32"),)

    def infer(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        assert feed["images"].shape == (1, 3, 384, 640)
        return {"output0": self._output}


class Reading:
    """How a file without a limit on its batch is read."""

    max_batch = None


class Film:
    """The same large image again and again: the memory of frames is the source's."""

    is_live, fps, total, dropped, doubts, broke_off = False, 30.0, LAST + 10, 0, (), None
    drops: Mapping[str, int] = {}

    def frames(self) -> Iterator[Frame]:
        image = np.full((*FRAME_HW, 3), 90, np.uint8)
        for i in range(self.total):
            yield Frame(image_bgr=image, index=i, captured_s=0.0, name="x", decode_ms=1.0, time_s=i / 30)

    def close(self) -> None:
        pass


class Gauge:
    """Measures the most memory of Python and NumPy between two frames."""

    needs_overlay = False
    most: int | None = None

    def __init__(self) -> None:
        self._before = 0

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        if result.frame.index == FIRST:
            self._before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
        if result.frame.index == LAST:
            self.most = tracemalloc.get_traced_memory()[1] - self._before
        return True

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        return ()


@pytest.mark.default_cases("2")
@pytest.mark.parametrize("concurrency", [1, 2])
def test_no_large_array_is_allocated_for_a_frame(tmp_path: Path, concurrency: int) -> None:
    detector: Any = ModelDetector(SPEC, StillBackend(), Reading(), conf=0.25, iou=0.45)  # type: ignore[arg-type]
    gauge = Gauge()
    overlay = FrameOverlay(SPEC.classes, "still")
    pipeline = Pipeline(detector, overlay=overlay, sinks=[gauge], concurrency=concurrency)
    stream = Stream(
        source=Film(),
        name="film",
        tracker=Tracker(),
        track_classifier=LightStates(SPEC.classes),
        sinks=[VideoSink(tmp_path / "film.mp4", 30.0, force=False)],
    )
    tracemalloc.start()
    try:
        end = pipeline.run([stream])
    finally:
        tracemalloc.stop()
    assert end.streams[0].summary.tracks == 1
    assert gauge.most is not None
    assert gauge.most < FRAME_HW[0] * FRAME_HW[1] * 3 / 10  # bytes: a tenth of a frame
