"""What happens to a frame after its boxes: tracking, drawing and encoding, with the parts of ``run``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.errors import DeviceError, ToolchainError
from runtime.frames import Frame
from runtime.sinks.encoders import open_encoder
from runtime.sinks.video_codec import Encoder
from runtime.stopwatch import Stopwatch
from runtime.streams.results import FrameResult, Overlay, TrackClassifier
from runtime.tracking import Tracker

FPS = 25.0  # of the video that is written, and of the frames as the tracker sees them
MOST_ENCODERS = 4  # that are open at once, for frames of several sizes; each takes some tens of MiB


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AfterBoxes:
    """What a model's frames go through after its boxes.

    Attributes:
        tracker: Assigns identities.
        track_classifier: Classifies tracks, as part of tracking; None if the model's objects have no states.
        overlay: Draws the annotated frame.
    """

    tracker: Tracker
    track_classifier: TrackClassifier | None
    overlay: Overlay


#: Makes these parts for the class names of a model, and a title.
MakeAfterBoxes = Callable[[tuple[str, ...], str], AfterBoxes]


class LaterStages:
    """Measures the stages after the boxes of one model. A context manager.

    The video is written to a temporary folder. An encoder in hardware encodes beside the program: its time is
    that of handing the frame over.

    Args:
        parts: Tracker and overlay.
        classes: Class names of the model.

    Attributes:
        reasons: Why a stage could not be measured, by stage.
    """

    def __init__(self, parts: AfterBoxes, classes: tuple[str, ...]) -> None:
        self._parts, self._classes = parts, classes
        self.reasons: dict[str, str] = {}
        self._folder = TemporaryDirectory(prefix="edgestill-bench-")
        self._encoders: dict[tuple[int, int], tuple[Encoder, int]] = {}
        self._files = self._frames = 0

    def __enter__(self) -> LaterStages:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ToolchainError, OSError):
            while self._encoders:
                self._encoders.popitem()[1][0].close()
        self._folder.cleanup()

    def timed(self, frame: Frame, found: Detections, stages_ms: Mapping[str, float]) -> dict[str, float]:
        """Milliseconds by stage of the next frame.

        Args:
            frame: The frame.
            found: Its detections.
            stages_ms: Milliseconds of the stages before, which the overlay shows.
        """
        watch, time_s = Stopwatch(), self._frames / FPS
        self._frames += 1
        states = None
        with watch.stage("tracking"):
            tracked = self._parts.tracker.update(found, time_s)
            if self._parts.track_classifier is not None:
                states = self._parts.track_classifier.update(tracked, time_s)
        result = FrameResult(
            frame=frame,
            detections=tracked.detections,
            track_id=tracked.track_id,
            states=states,
            age_ms=sum(stages_ms.values()),
            rate_fps=FPS,
            stages_ms=dict(stages_ms),
            is_live=False,
            classes=self._classes,
        )
        with watch.stage("drawing"):
            drawn_bgr = self._parts.overlay(result)
        encoding_ms = self._encode(drawn_bgr)
        if encoding_ms is not None:
            watch.add("encoding", encoding_ms)
        return watch.stages_ms

    def _encode(self, image_bgr: NDArray[np.uint8]) -> float | None:
        """Milliseconds to encode a frame into the video of its size; None if this machine has no encoder."""
        if "encoding" in self.reasons:
            return None
        size_wh = image_bgr.shape[1], image_bgr.shape[0]
        try:
            is_open = size_wh in self._encoders
            encoder, count = self._encoders.pop(size_wh) if is_open else (self._open(size_wh), 0)
            start_s = perf_counter()
            encoder.write(image_bgr, count / FPS)
            ms = (perf_counter() - start_s) * 1e3
        except DeviceError as error:
            self.reasons["encoding"] = error.what
            return None
        self._encoders[size_wh] = encoder, count + 1  # the last one used is the last in the dict
        return ms

    def _open(self, size_wh: tuple[int, int]) -> Encoder:
        if len(self._encoders) == MOST_ENCODERS:
            oldest = next(iter(self._encoders))
            self._encoders.pop(oldest)[0].close()
        self._files += 1
        return open_encoder(Path(self._folder.name) / f"{self._files}.mp4", size_wh, FPS)
