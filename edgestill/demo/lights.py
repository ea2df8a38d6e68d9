"""Classification of tracked traffic lights: the state of a light from its detections in several frames.

For each track, scores are accumulated by class with exponential decay over time. A state is confirmed, or
replaced, when a class has a large enough share of the accumulated score and was detected for long enough, in
at least two consecutive frames. A single wrong frame changes nothing. All times are in seconds of the stream.
At 30 frames per second a real change is reported after three frames, and after four if it is to green, where
a false report is more dangerous than a late one; at 5 or 2 frames per second after two.

The first state of a track needs proof that it is a light at all, because tail lights, cones and signs are
detected too, mostly with low scores and for a short time. Proof is the score above ``doubtful_score``,
integrated over time: a detection of 0.8 needs 40 ms, one of 0.4 needs 0.2 s, and one below 0.3 never
confirms a state. Frames that repeat a picture prove nothing, unless the score is at least ``sure_score``.

``off`` is treated separately: flashing lights, and LED lights that flicker relative to the shutter, are dark
for a part of each second. They keep their colour; a light is off after ``off_after_s`` without a colour.

Which of several lights is relevant for the vehicle is not decided here: that needs a map or lane geometry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from runtime.tracking import NO_TRACK, SAME_TIME_S, Tracked

UNKNOWN = "unknown"
OFF = "off"
GREEN = "green"
COLOURS = frozenset({"red", "green"})
LEAST_DETECTIONS = 2  # that agree, for a change of state
LONGEST_PROOF_S = 0.5  # that one detection gives: the light was not seen in the time before it


@dataclass(frozen=True, slots=True, kw_only=True)
class LightSettings:
    """Thresholds for a change of state.

    Attributes:
        memory_s: Time in which the accumulated scores decay to 1/e, seconds.
        share: Share of the accumulated score that a class needs to become the state.
        share_green: The same for green.
        hold_s: Time from the first to the latest of at least two detections in a row of that class, seconds.
        hold_green_s: The same for green, where it replaces another state.
        doubtful_score: Detections with a lower score do not prove that there is a light.
        proof_s: Score above ``doubtful_score`` times seconds that the first state of a track needs.
        sure_score: Detections with this score count in frames that repeat a picture, too.
        off_after_s: Time without a colour after which a light is off, seconds.
        unknown_after_s: Time of detections that tell no state, after which the state is unknown, seconds.
    """

    memory_s: float = 0.0935
    share: float = 0.6
    share_green: float = 0.7
    hold_s: float = 0.033
    hold_green_s: float = 0.066
    doubtful_score: float = 0.3
    proof_s: float = 0.02
    sure_score: float = 0.7
    off_after_s: float = 1.0
    unknown_after_s: float = 2.0


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
    proof_s: float = 0.0


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
        found = tracked.detections
        rows = zip(tracked.track_id, found.class_id, found.score, strict=True)
        return tuple(
            self._known(int(track_id))
            if tracked.repeats and score < self.settings.sure_score
            else self._update(int(track_id), self._classes[class_id], float(score), time_s)
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
        if name != light.last:
            light.last, light.run, light.run_since_s = name, 0, time_s
        light.run += 1
        elapsed_s, light.seen_s = max(time_s - light.seen_s, 0.0), time_s
        kept = math.exp(-elapsed_s / self.settings.memory_s)
        light.proof_s += max(score - self.settings.doubtful_score, 0.0) * min(elapsed_s, LONGEST_PROOF_S)
        light.evidence = {k: kept * value for k, value in light.evidence.items()}
        light.evidence[name] = light.evidence.get(name, 0.0) + score
        if self._is_confirmed(light, time_s):
            light.state = light.last
        return light.state

    def _is_confirmed(self, light: _Light, time_s: float) -> bool:
        """Whether the class of the latest detections becomes the state."""
        settings = self.settings
        if light.state == UNKNOWN and light.proof_s < settings.proof_s:
            return False
        replaces = light.state not in {UNKNOWN, light.last}
        hold_s = settings.hold_green_s if light.last == GREEN and replaces else settings.hold_s
        if light.run < LEAST_DETECTIONS or time_s - light.run_since_s < hold_s - SAME_TIME_S:
            return False
        if light.last == OFF and light.state not in {OFF, UNKNOWN}:
            return time_s - light.run_since_s >= settings.off_after_s
        share = light.evidence[light.last] / sum(light.evidence.values())
        return share >= (settings.share_green if light.last == GREEN else settings.share)


def are_lights(classes: Sequence[str]) -> bool:
    """Whether the classes of a model are states of traffic lights: red and green are among them."""
    return set(classes) >= COLOURS
