"""Changes of state: which of those that were reported are true, and how late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from benchmarks.tracking.known_tracks import Clip
from benchmarks.tracking.played_clip import PlayedFrame
from edgestill.boxes import pairwise_iou

SAME_IOU = 0.3  # of a detection and a true box, to be the same light
LEAST_S = 0.5  # a true change counts if the light is to be seen for so long after it


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanges:
    """The changes of all lights of a clip.

    Attributes:
        true: Changes of lights that stay visible for ``LEAST_S``.
        right: Those that were reported before the light changed again.
        late_s: For each of these, seconds from the change to its report.
        false: Reports of a state that the light did not have, at that time.
        lights: Lights that are visible for ``LEAST_S`` in one state.
        told_s: For each of them that got its state, seconds from the first frame to the report.
    """

    true: int
    right: int
    late_s: tuple[float, ...]
    false: int
    lights: int
    told_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LightInFrame:
    """One light in one frame.

    Attributes:
        time_s: Time of the frame, seconds.
        true: Its true state.
        told: The reported state; None where nothing is known.
    """

    time_s: float
    true: str
    told: str | None


def score_changes(clip: Clip, played: Sequence[PlayedFrame]) -> StateChanges:
    """Compare the reported states of each true light with its true ones."""
    true = right = false = lights = 0
    late_s: list[float] = []
    told_s: list[float] = []
    for seen in lights_of(clip, played).values():
        false += sum(1 for told, state in _reports(seen) if told != state)
        for number, phase in enumerate(phases(seen)):
            first_s = phase[0].time_s
            told = next((s.time_s - first_s for s in phase if s.told == s.true), None)
            if phase[-1].time_s - first_s < LEAST_S:
                continue
            if number:
                true += 1
                right += told is not None
                late_s += [] if told is None else [told]
            else:
                lights += 1
                told_s += [] if told is None else [told]
    return StateChanges(
        true=true, right=right, late_s=tuple(late_s), false=false, lights=lights, told_s=tuple(told_s)
    )


def lights_of(clip: Clip, played: Sequence[PlayedFrame]) -> dict[int, list[LightInFrame]]:
    """What was reported for each true light, whichever track it has."""
    lights: dict[int, list[LightInFrame]] = {}
    for true, frame in zip(clip.frames, played, strict=True):
        overlap = pairwise_iou(true.xyxy, frame.xyxy)
        owner: dict[int, int] = {}
        for flat in np.argsort(-overlap, axis=None, kind="stable"):
            at, column = divmod(int(flat), overlap.shape[1])
            if overlap[at, column] < SAME_IOU:
                break
            if at not in owner and column not in owner.values():
                owner[at] = column
        for at, identity in enumerate(true.identity):
            told = frame.states[owner[at]] if at in owner else None
            known = told if told in clip.names else None
            seen = LightInFrame(true.time_s, clip.names[true.state[at]], known)
            lights.setdefault(int(identity), []).append(seen)
    return lights


def phases(seen: list[LightInFrame]) -> Iterator[list[LightInFrame]]:
    """The times of equal true state."""
    for _, group in groupby(seen, key=lambda s: s.true):
        yield list(group)


def _reports(seen: list[LightInFrame]) -> Iterator[tuple[str, str]]:
    """Each state that was newly reported for a light, with its true state at that time."""
    last = None
    for frame in seen:
        if frame.told is not None and frame.told != last:
            last = frame.told
            yield frame.told, frame.true
