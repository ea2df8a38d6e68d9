"""Classification of tracked traffic lights: the state of a light from its detections in several frames.

For each track, scores are accumulated by class with exponential decay over time. A state is confirmed, or
replaced, when a class has a large enough share of the accumulated score and was detected for long enough, in
at least two consecutive frames. A single wrong frame changes nothing. At 30 frames per second a real change
is reported after three frames, and after four if it is to green, where a false report is more dangerous than
a late one. Other rates take as long in seconds; low ones take two frames, and three for green.

``off`` is treated separately: flashing lights, and LED lights that flicker relative to the shutter, are dark
for a part of each second. They keep their colour; a light is off after ``off_after_s`` without a colour.

Which of several lights is relevant for the vehicle is not decided here: that needs a map or lane geometry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from runtime.tracking import NO_TRACK, Tracked

UNKNOWN = "unknown"
OFF = "off"
GREEN = "green"
COLOURS = frozenset({"red", "green"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LightSettings:
    """Thresholds for a change of state.

    Attributes:
        memory_s: Time in which the accumulated scores decay to 1/e, seconds.
        share: Share of the accumulated score that a class needs to become the state.
        share_green: The same for green.
        frames: Number of consecutive detections of that class.
        frames_green: The same for green, where it replaces another state.
        hold_s: Time from the first to the latest of these detections, seconds.
        off_after_s: Time without a colour after which a light is off, seconds.
        unknown_after_s: Time of detections that tell no state, after which the state is unknown, seconds.
    """

    memory_s: float = 0.0935
    share: float = 0.6
    share_green: float = 0.7
    frames: int = 2
    frames_green: int = 3
    hold_s: float = 0.033
    off_after_s: float = 1.0
    unknown_after_s: float = 2.0
    doubtful: float = 0.25
    longest_s: float = 0.5
    proof: float = 0.05


@dataclass(slots=True)
class _Light:
    """State, accumulated scores by class, and the latest run of equal classes of one track."""

    state: str = UNKNOWN
    evidence: dict[str, float] = field(default_factory=dict)
    last: str = ""
    run: int = 0
    run_since_s: float = 0.0
    seen_s: float = 0.0
    told_s: float = 0.0
    proof: float = 0.0


class LightStates:
    """The states of all tracked lights; a ``runtime.pipeline.TrackClassifier``.

    Args:
        classes: Class names of the model.
        settings: Thresholds; None for the defaults.
    """

    def __init__(self, classes: Sequence[str], settings: LightSettings | None = None) -> None:
        self.settings = settings or LightSettings()
        self._classes = tuple(classes)
        self._lights: dict[int, _Light] = {}

    def update(self, tracked: Tracked, time_s: float) -> tuple[str, ...]:
        """Update the states with the next frame.

        Args:
            tracked: The detections of the frame with their track ids.
            time_s: Time of the frame, seconds; must not decrease.

        Returns:
            The state of each detection's light: a class name, or ``UNKNOWN`` until one is confirmed.
        """
        for track_id in tracked.ended:
            self._lights.pop(track_id, None)
        if tracked.repeats:
            return tuple(self._known(int(track_id)) for track_id in tracked.track_id)
        found = tracked.detections
        rows = zip(tracked.track_id, found.class_id, found.score, strict=True)
        return tuple(
            self._update(int(track_id), self._classes[class_id], float(score), time_s)
            for track_id, class_id, score in rows
        )

    def _known(self, track_id: int) -> str:
        light = self._lights.get(track_id)
        return UNKNOWN if light is None else light.state

    def _update(self, track_id: int, name: str, score: float, time_s: float) -> str:
        if track_id == NO_TRACK:
            return UNKNOWN
        light = self._lights.setdefault(track_id, _Light(seen_s=time_s, told_s=time_s))
        if name == UNKNOWN:  # it says nothing about the state, and interrupts no run of equal states
            if time_s - light.told_s >= self.settings.unknown_after_s:
                light.state = UNKNOWN
            return light.state
        light.told_s = time_s
        light.proof += max(score - self.settings.doubtful, 0.0) * min(time_s - light.seen_s, self.settings.longest_s)
        if name != light.last:
            light.last, light.run, light.run_since_s = name, 0, time_s
        light.run += 1
        kept = math.exp(-max(time_s - light.seen_s, 0.0) / self.settings.memory_s)
        light.seen_s = time_s
        light.evidence = {k: kept * value for k, value in light.evidence.items()}
        light.evidence[name] = light.evidence.get(name, 0.0) + score
        if self._is_confirmed(light, time_s):
            light.state = light.last
        return light.state

    def _is_confirmed(self, light: _Light, time_s: float) -> bool:
        """Whether the class of the latest detections becomes the state."""
        settings = self.settings
        replaces = light.state not in {UNKNOWN, light.last}
        frames = settings.frames_green if light.last == GREEN and replaces else settings.frames
        if light.run < frames or time_s - light.run_since_s < settings.hold_s:
            return False
        if light.last == OFF and light.state not in {OFF, UNKNOWN}:
            return time_s - light.run_since_s >= settings.off_after_s
        if light.state == UNKNOWN and light.proof < settings.proof:
            return False
        share = light.evidence[light.last] / sum(light.evidence.values())
        return share >= (settings.share_green if light.last == GREEN else settings.share)


def are_lights(classes: Sequence[str]) -> bool:
    """Whether the classes of a model are states of traffic lights: red and green are among them."""
    return set(classes) >= COLOURS
