"""A clip played through a tracker and a classifier of tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.tracking.known_tracks import Clip
from edgestill.detections import Detections
from runtime.pipeline import TrackClassifier
from runtime.tracking import NO_TRACK, Tracker


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlayedFrame:
    """What came out for one frame.

    Attributes:
        time_s: Time of the frame, seconds.
        xyxy: Corners of the detections, px; float32 ``[N, 4]``.
        track_id: int64 ``[N]``; ``NO_TRACK`` where a detection has none.
        states: The state of each detection's track.
    """

    time_s: float
    xyxy: NDArray[np.float32]
    track_id: NDArray[np.int64]
    states: tuple[str, ...]

    @property
    def tracked(self) -> NDArray[np.bool_]:
        """Which detections have an id."""
        return np.asarray(self.track_id != NO_TRACK, np.bool_)


def play(
    times_s: Sequence[float], detections: Sequence[Detections], tracker: Tracker, states: TrackClassifier
) -> list[PlayedFrame]:
    """Track the detections of each frame and classify the tracks."""
    played = []
    for time_s, found in zip(times_s, detections, strict=True):
        tracked = tracker.update(found, time_s)
        state = states.update(tracked, time_s)
        played.append(
            PlayedFrame(
                time_s=time_s, xyxy=tracked.detections.xyxy, track_id=tracked.track_id, states=tuple(state)
            )
        )
    return played


def times_of(clip: Clip) -> list[float]:
    """The times of a clip's frames, seconds."""
    return [frame.time_s for frame in clip.frames]
