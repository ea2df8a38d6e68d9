"""A detector whose detections of other classes are dropped, before anything tracks, draws or saves them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from edgestill.detections import Detections
from runtime.detector import TimedDetector


class ClassFilter:
    """Keeps the detections of some classes; see ``runtime.detector.TimedDetector``.

    Class ids stay those of the model.

    Args:
        detector: The detector.
        class_ids: The classes to keep.

    Attributes:
        spec: Input size, classes and pre-processing of the model; all its classes.
    """

    def __init__(self, detector: TimedDetector, class_ids: Collection[int]) -> None:
        self.spec = detector.spec
        self._detector = detector
        self._kept = np.asarray(sorted(class_ids), np.int64)

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        """Detections in an image, uint8 ``[H, W, 3]`` BGR, in its pixels."""
        return self.timed(image_bgr)[0]

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        """Detections in an image, and milliseconds by stage."""
        found, stages_ms = self._detector.timed(image_bgr)
        return self._filtered(found), stages_ms

    def timed_batch(
        self, images_bgr: Sequence[NDArray[np.uint8]]
    ) -> tuple[list[Detections], dict[str, float]]:
        """Detections in each of several images, and milliseconds by stage of all together."""
        found, stages_ms = self._detector.timed_batch(images_bgr)
        return [self._filtered(one) for one in found], stages_ms

    def _filtered(self, found: Detections) -> Detections:
        return found.where(np.isin(found.class_id, self._kept))
