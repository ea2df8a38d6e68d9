"""Flicker: changes of a light's state that the truth lacks, frame by frame and smoothed over time.

A clip has true boxes, identities and states. For each true light the reported state of each frame is that of
the detection that covers it. A reported change is real if it is the first one to the true state since the
light changed; all others are flicker. So a wrong state for a moment counts twice: the change to it, and the
one back. The first report of a light is no change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.tracking.known_tracks import Clip
from benchmarks.tracking.played_clip import PlayedFrame
from benchmarks.tracking.state_changes import LightInFrame, lights_of, phases
from edgestill.detections import Detections
from runtime.tracking import NO_TRACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Flicker:
    """How the reported states of the lights of a clip behave.

    Attributes:
        light_minutes: Time for which lights are visible, summed over the lights.
        changes: Reported changes of state.
        false_changes: Those that the truth lacks.
        right_s: Light-seconds in which the true state is reported.
        wrong_s: Light-seconds in which another state is reported.
        red_as_green_s: Light-seconds in which a red light is reported as green.
        green_as_red_s: Light-seconds in which a green light is reported as red.
    """

    light_minutes: float
    changes: int
    false_changes: int
    right_s: float
    wrong_s: float
    red_as_green_s: float
    green_as_red_s: float

    def to_json(self) -> dict[str, Any]:
        """All figures, rounded, with the false changes a minute of visible light; null of no light."""
        minutes = self.light_minutes
        return {
            "light_minutes": round(minutes, 3),
            "changes": self.changes,
            "false_changes": self.false_changes,
            "false_changes_per_minute": round(self.false_changes / minutes, 3) if minutes else None,
            "right_s": round(self.right_s, 3),
            "wrong_s": round(self.wrong_s, 3),
            "red_as_green_s": round(self.red_as_green_s, 3),
            "green_as_red_s": round(self.green_as_red_s, 3),
        }


def frame_by_frame(
    times_s: Sequence[float], detections: Sequence[Detections], classes: Sequence[str]
) -> list[PlayedFrame]:
    """What is reported without tracking and smoothing: the class of each detection as its state.

    Args:
        times_s: Time of each frame, seconds.
        detections: Those of each frame.
        classes: Class names of the detector.
    """
    return [
        PlayedFrame(
            time_s=time_s,
            xyxy=found.xyxy,
            track_id=np.full(len(found), NO_TRACK, np.int64),
            states=tuple(classes[k] for k in found.class_id),
        )
        for time_s, found in zip(times_s, detections, strict=True)
    ]


def score_flicker(clip: Clip, played: Sequence[PlayedFrame], colours: Mapping[str, str | None]) -> Flicker:
    """Compare the reported states of each true light with its true ones.

    Args:
        clip: The clip with its truth.
        played: What was reported for each of its frames.
        colours: The colour of each state, see ``benchmarks.safety.lights_seen.colours_of``.
    """
    lights = lights_of(clip, played).values()
    frames = [frame for light in lights for frame in light]
    counts = [count_changes(light) for light in lights]

    def seconds(*pairs: tuple[str, str]) -> float:
        return sum((colours.get(f.true), colours.get(f.told or "")) in pairs for f in frames) / clip.fps

    return Flicker(
        light_minutes=len(frames) / clip.fps / 60,
        changes=sum(changes for changes, _ in counts),
        false_changes=sum(false for _, false in counts),
        right_s=sum(f.told == f.true for f in frames) / clip.fps,
        wrong_s=sum(f.told not in {None, f.true} for f in frames) / clip.fps,
        red_as_green_s=seconds(("red", "green")),
        green_as_red_s=seconds(("green", "red")),
    )


def count_changes(light: list[LightInFrame]) -> tuple[int, int]:
    """Reported changes of one light, and those of them that the truth lacks."""
    changes = false = 0
    last: str | None = None
    owed = False  # whether the light changed, after its first report, and this was not reported yet
    for number, phase in enumerate(phases(light)):
        owed = number > 0 and last is not None
        for frame in phase:
            if frame.told is None or frame.told == last:
                continue
            if last is not None:
                changes += 1
                is_real = owed and frame.told == frame.true
                false += not is_real
                owed = owed and not is_real
            last = frame.told
    return changes, false
