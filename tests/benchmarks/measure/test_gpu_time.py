"""GPU time beside wall time: from the backend's total to the figures of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import gpu_time
from benchmarks.measure.collect import Settings, collect
from benchmarks.measure.footage import Footage
from edgestill.detections import Detections
from edgestill.spec import ModelSpec
from runtime.tiling import TiledDetector, Tiling

SPEC = ModelSpec(name="timed", input_hw=(32, 32), classes=("red",))
NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


class OnGpu:
    """A detector whose network takes half a millisecond more for each image, from 1 ms on."""

    spec = SPEC

    def __init__(self) -> None:
        self.gpu_ms, self.images = 0.0, 0

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        return self.timed(image_bgr)[0]

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        return NOTHING, self.timed_batch([image_bgr])[1]

    def timed_batch(self, images_bgr: Any) -> tuple[list[Detections], dict[str, float]]:
        for _ in images_bgr:
            self.gpu_ms += 1 + 0.5 * self.images
            self.images += 1
        return [NOTHING for _ in images_bgr], {"letterbox": 1.0, "inference": 5.0, "postprocess": 1.0}


def measured(detector: Any) -> Any:
    settings = Settings(duration_s=0, min_samples=8, warmup_s=0)
    return collect([detector], Footage(None), settings, lambda: None)[0]


def test_each_counted_frame_has_its_gpu_time() -> None:
    samples = measured(OnGpu())
    # Three frames of warm-up and the first of each turn are not counted.
    assert samples.gpu_ms == [1 + 0.5 * n for n in (4, 5, 6, 7, 9, 10, 11, 12)]


def test_the_tiles_of_a_frame_are_summed() -> None:
    samples = measured(TiledDetector(OnGpu(), Tiling.parse("2x1", 0.0)))
    first = 3 * (3 + 1)  # warm-up and the first of the turn: two tiles and the whole frame each
    assert samples.gpu_ms[0] == sum(1 + 0.5 * n for n in range(first, first + 3))


def test_a_backend_without_events_says_so() -> None:
    plain: Any = object()
    assert gpu_time.total_ms(plain) is None
    figures = gpu_time.figures_of([], "ort")
    assert figures["gpu_compute_ms"] is None
    assert figures["gpu_compute_reason"].startswith("the backend ort does not measure it")


def test_the_figures_are_percentiles_as_for_wall_time() -> None:
    figures = gpu_time.figures_of([1.0] * 990 + [5.0] * 10, "trt")["gpu_compute_ms"]
    assert (figures["p50"], figures["mean"]) == (1.0, 1.04)
    assert gpu_time.figures_of([1.0, 2.0], "trt")["gpu_compute_ms"]["p99"] is None  # too few
