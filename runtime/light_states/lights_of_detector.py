"""A detector of traffic lights with states: the boxes of any detector, the states from their crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.errors import UsageError
from runtime.detector import TimedDetector
from runtime.light_states.classifier import STATES, LightStateClassifier
from runtime.stopwatch import Stopwatch

LIGHT_CLASS = "traffic light"  # its name in COCO


@dataclass(frozen=True, slots=True)
class LightClassifier:
    """What makes a detector of lights with states out of any detector.

    Attributes:
        classifier: Finds the states.
        light_class: Name of the class of lights among the detector's classes.
    """

    classifier: LightStateClassifier
    light_class: str = LIGHT_CLASS

    def around(self, detector: TimedDetector) -> LightStateDetector:
        """The detector of lights with states; UsageError if the detector has no such class."""
        return LightStateDetector(detector, self.classifier, light_class=self.light_class)


class LightStateDetector:
    """Finds lights with a detector and classifies their states; all other detections are dropped.

    The classes of its ``spec`` are the states. A detection keeps its box and its score.

    Args:
        detector: Finds the lights.
        classifier: Finds their states.
        light_class: Name of the class of lights among the detector's classes.

    Raises:
        UsageError: The detector has no such class.
    """

    def __init__(
        self, detector: TimedDetector, classifier: LightStateClassifier, *, light_class: str = LIGHT_CLASS
    ) -> None:
        self._detector, self._classifier = detector, classifier
        self._class_ids = _light_class_ids(detector.spec.classes, light_class)
        self.spec = replace(detector.spec, classes=STATES)

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        """Lights in an image, uint8 ``[H, W, 3]`` BGR, in its pixels; classes are indices into ``STATES``."""
        return self.timed(image_bgr)[0]

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        """Lights in an image, and milliseconds by stage; ``states`` is the classifier's."""
        found, stages_ms = self.timed_batch([image_bgr])
        return found[0], stages_ms

    def timed_batch(
        self, images_bgr: Sequence[NDArray[np.uint8]]
    ) -> tuple[list[Detections], dict[str, float]]:
        """Lights in several images of any sizes, and milliseconds by stage of all together."""
        found, stages_ms = self._detector.timed_batch(images_bgr)
        watch = Stopwatch()
        with watch.stage("states"):
            lights = [self._with_states(image, one) for image, one in zip(images_bgr, found, strict=True)]
        return lights, {**stages_ms, **watch.stages_ms}

    def _with_states(self, image_bgr: NDArray[np.uint8], found: Detections) -> Detections:
        lights = found.where(np.isin(found.class_id, self._class_ids))
        states = self._classifier(image_bgr, lights.xyxy)
        return Detections(lights.xyxy, lights.score, states.state)


def _light_class_ids(classes: Sequence[str], light_class: str) -> list[int]:
    """The class of lights; all classes, if they are themselves the states of lights."""
    if light_class in classes:
        return [classes.index(light_class)]
    if light_class == LIGHT_CLASS and set(classes) <= set(STATES):
        return list(range(len(classes)))
    raise UsageError(
        f"the model has no class {light_class!r}; it has {', '.join(classes)}",
        hint="name the class of traffic lights with --light-class",
    )
