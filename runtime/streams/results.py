"""What the pipeline makes of a frame, and the contracts of what takes part in that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgestill.detections import Detections
from runtime.frames import Frame
from runtime.tracking import NO_TRACK, Tracked


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One detection as plain values.

    Attributes:
        box: Corners x0, y0, x1, y1, pixels of the frame.
        score: Confidence, 0 to 1.
        name: Name of the class.
        track_id: Identity over frames; None without a confirmed track.
        state: State of the track, as that of a light; None without a track classifier.
    """

    box: tuple[float, float, float, float]
    score: float
    name: str
    track_id: int | None
    state: str | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameResult:
    """The results of one frame.

    Attributes:
        frame: The frame.
        detections: Its detections, in its pixels.
        track_id: int64 ``[N]``, ``NO_TRACK`` for detections without a track; None without a tracker.
        states: The state of each detection, from the track classifier; None without a classifier.
        age_ms: Time from the capture of the frame to this result, milliseconds.
        rate_fps: Moving average of the frame rate of the source, frames per second; None for the first frame.
        stages_ms: Milliseconds by stage, up to this result. Frames of several sources that the network took
            together have an equal share each.
        is_live: Whether the frame is from a live source.
        source: Short name of the source, which no other source of the run has.
        classes: Class names of the model, by class id.
    """

    frame: Frame
    detections: Detections
    track_id: NDArray[np.int64] | None
    states: tuple[str, ...] | None
    age_ms: float
    rate_fps: float | None
    stages_ms: Mapping[str, float]
    is_live: bool
    source: str = ""
    classes: tuple[str, ...] = ()

    def found(self) -> list[Found]:
        """The detections as plain values, highest score first."""
        return [self._found(row) for row in range(len(self.detections))]

    def _found(self, row: int) -> Found:
        x0, y0, x1, y1 = self.detections.xyxy[row].tolist()
        track_id = NO_TRACK if self.track_id is None else int(self.track_id[row])
        return Found(
            box=(x0, y0, x1, y1),
            score=float(self.detections.score[row]),
            name=self.classes[self.detections.class_id[row]],
            track_id=None if track_id == NO_TRACK else track_id,
            state=None if self.states is None else self.states[row],
        )


class TrackClassifier(Protocol):
    """Classifies tracks over several frames, e.g. the state of a traffic light."""

    def update(self, tracked: Tracked, time_s: float) -> tuple[str, ...]:
        """The state of each detection of the next frame, which was captured at ``time_s`` seconds."""


class Overlay(Protocol):
    """Draws a result on a copy of its frame. It is not called by two threads at once."""

    def __call__(self, result: FrameResult) -> NDArray[np.uint8]:
        """The annotated copy, uint8 ``[H, W, 3]`` BGR; the frame itself is not modified."""


class Gate(Protocol):
    """Decides before each frame whether it is processed, as the pause button of a viewer does."""

    def admits(self, source: str, *, is_live: bool) -> bool:
        """Whether the next frame of a source is processed; False discards it.

        It may wait. Signals end the run while it does.

        Args:
            source: As ``FrameResult.source``.
            is_live: Whether it is a live source, which goes on sending while this waits.
        """


class Sink(Protocol):
    """Receives results: a writer of a file or stream, or a window.

    Attributes:
        needs_overlay: Whether it needs the annotated frame; if no sink does, none is drawn.
    """

    needs_overlay: bool

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Process one result.

        Args:
            result: The results of the frame.
            image_bgr: uint8 ``[H, W, 3]``: the annotated frame where ``needs_overlay`` is true, else either.

        Returns:
            Whether to continue; False ends the run, as when a window is closed.
        """

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """Finish, and return the files written.

        Args:
            complete: Whether the run ended as it should. If not, a sink leaves no half-written file of a
                source that can be read again, keeps the recording of a camera, and replaces no older file.
        """
