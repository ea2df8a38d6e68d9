"""The tracked objects of one source for a viewer: what they are now, since when, and what changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgestill.demo.lights import UNKNOWN
from runtime.pipeline import FrameResult
from runtime.tracking import NO_TRACK

SHOWN_S = 1.0  # an object that one frame misses stays on the board for this long
KEPT_S = 5.0  # an object that comes back within this time with its id has been in its state all the time
CHANGES = 30


@dataclass(slots=True)
class _Object:
    name: str
    detected: str
    score: float
    since_s: float
    seen_s: float


class LightBoard:
    """Lights, or other tracked objects, by their track id.

    Times are seconds since the start of the run.

    Args:
        classes: Class names of the model.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._objects: dict[int, _Object] = {}
        self._changes: deque[dict[str, Any]] = deque(maxlen=CHANGES)
        self._now_s = 0.0

    def update(self, result: FrameResult, now_s: float) -> None:
        """Take the next result; of a run without a tracker it has no objects."""
        self._now_s = now_s
        if result.track_id is None:
            return
        for row, track_id in enumerate(result.track_id.tolist()):
            if track_id != NO_TRACK:
                self._see(track_id, result, row)
        gone = [key for key, one in self._objects.items() if now_s - one.seen_s > KEPT_S]
        for key in gone:
            del self._objects[key]

    def objects(self) -> list[dict[str, Any]]:
        """What is there, by number.

        Returns:
            For each ``id``, ``state``, ``detected`` (the class of its latest detection, if the state is not
            confirmed, else the state), ``sure``, ``score``, and ``since_s``, when it came into that state.
        """
        return [
            {
                "id": key,
                "state": one.name,
                "detected": one.detected,
                "sure": one.name != UNKNOWN or one.detected == UNKNOWN,
                "score": round(one.score, 2),
                "since_s": round(one.since_s, 2),
            }
            for key, one in sorted(self._objects.items())
            if self._now_s - one.seen_s <= SHOWN_S
        ]

    def changes(self) -> list[dict[str, Any]]:
        """The latest changes of a state, oldest first: ``id``, ``from``, ``to``, ``at_s``."""
        return list(self._changes)

    def _see(self, track_id: int, result: FrameResult, row: int) -> None:
        name, score = object_name(result, row, self._classes), _score(result, row)
        detected = name if name != UNKNOWN else self._classes[int(result.detections.class_id[row])]
        before = self._objects.get(track_id)
        if before is not None and before.name == name:
            before.detected, before.score, before.seen_s = detected, score, self._now_s
            return
        if before is not None:
            change = {"id": track_id, "from": before.name, "to": name, "at_s": round(self._now_s, 2)}
            self._changes.append(change)
        self._objects[track_id] = _Object(name, detected, score, self._now_s, self._now_s)


def object_name(result: FrameResult, row: int, classes: Sequence[str]) -> str:
    """The state of a detection's light, ``unknown`` before one is confirmed; else its class."""
    if result.states is not None:
        return result.states[row]
    return classes[int(result.detections.class_id[row])]


def boxes_json(result: FrameResult, classes: Sequence[str], limit: int) -> list[dict[str, Any]]:
    """What is drawn on a picture, in the order of the scores.

    Returns:
        For each of the first ``limit`` detections ``box`` (x0, y0, x1, y1 in pixels of the source), ``name``,
        ``score``, ``id`` (None without a track) and ``sure``: false for a light whose state is not confirmed
        yet, which is named by its class.
    """
    found = result.detections
    rows = []
    for row in range(min(len(found), limit)):
        name = object_name(result, row, classes)
        is_sure = result.states is None or name != UNKNOWN
        track_id = NO_TRACK if result.track_id is None else int(result.track_id[row])
        rows.append(
            {
                "box": [round(float(side), 1) for side in found.xyxy[row]],
                "name": name if is_sure else classes[int(found.class_id[row])],
                "score": round(_score(result, row), 2),
                "id": None if track_id == NO_TRACK else track_id,
                "sure": is_sure,
            }
        )
    return rows


def _score(result: FrameResult, row: int) -> float:
    return float(result.detections.score[row])
