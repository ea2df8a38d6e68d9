"""What a traffic light shows, from what a detector says of it frame after frame.

Each track gathers evidence per class: the scores of its detections, older ones counting less. A state
is confirmed, and later replaced, when another class holds enough of the evidence in enough frames in a row.
So one wrong frame changes nothing, and a real change shows after three frames (four towards green, because
a green seen late costs a second and a green seen wrongly may cost more).

``off`` is special: a flashing light, and an LED light that beats against the shutter, are dark for a part of
every second. They keep their colour; only a light that stays dark for ``off_after_s`` becomes off.

Which of several lights rules the lane is not decided here: that takes a map or the lane's geometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from runtime.tracking import NO_TRACK, Tracked

UNKNOWN = "unknown"
OFF = "off"
GREEN = "green"
COLOURS = frozenset({"red", "green"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LightSettings:
    """How much it takes to believe.

    Attributes:
        memory: Weight of a frame's evidence one frame later.
        share: Part of all evidence that a class needs to become the state.
        share_green: The same for green.
        frames: Detections in a row that must agree.
        off_after_s: Time without a colour before a light is off.
    """

    memory: float = 0.7
    share: float = 0.6
    share_green: float = 0.7
    frames: int = 2
    off_after_s: float = 1.0


@dataclass(slots=True)
class _Light:
    """One track's evidence by class, its state, and the run of equal classes that it ends with."""

    state: str = UNKNOWN
    evidence: dict[str, float] = field(default_factory=dict)
    last: str = ""
    run: int = 0
    run_since_s: float = 0.0


class LightStates:
    """The state of every tracked light."""

    def __init__(self, classes: Sequence[str], settings: LightSettings | None = None) -> None:
        self.settings = settings or LightSettings()
        self._classes = tuple(classes)
        self._lights: dict[int, _Light] = {}

    def update(self, tracked: Tracked, time_s: float) -> tuple[str, ...]:
        """Take in one frame.

        Args:
            tracked: Its detections with their tracks.
            time_s: The frame's time, seconds; never goes back.

        Returns:
            The state of each detection's light: a class name, or ``UNKNOWN`` until there is enough evidence.
        """
        for track_id in tracked.ended:
            self._lights.pop(track_id, None)
        found = tracked.detections
        rows = zip(tracked.track_id, found.class_id, found.score, strict=True)
        return tuple(
            self._vote(int(track_id), self._classes[class_id], float(score), time_s)
            for track_id, class_id, score in rows
        )

    def _vote(self, track_id: int, seen: str, score: float, time_s: float) -> str:
        if track_id == NO_TRACK:
            return UNKNOWN
        light = self._lights.setdefault(track_id, _Light())
        if seen != light.last:
            light.last, light.run, light.run_since_s = seen, 0, time_s
        light.run += 1
        light.evidence = {name: self.settings.memory * value for name, value in light.evidence.items()}
        light.evidence[seen] = light.evidence.get(seen, 0.0) + score
        if self._convinces(light, time_s):
            light.state = light.last
        return light.state

    def _convinces(self, light: _Light, time_s: float) -> bool:
        rule = self.settings
        if light.run < rule.frames:
            return False
        if light.last == OFF and light.state not in {OFF, UNKNOWN}:
            return time_s - light.run_since_s >= rule.off_after_s
        share = light.evidence[light.last] / sum(light.evidence.values())
        return share >= (rule.share_green if light.last == GREEN else rule.share)


def are_lights(classes: Sequence[str]) -> bool:
    """Whether a model's classes are the states of traffic lights."""
    return set(classes) >= COLOURS
