"""Confirmed tracks that are no traffic lights: what was confirmed, by boxes that a person has judged."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.tracking.played_clip import PlayedFrame
from edgestill.boxes import nms, pairwise_iou
from edgestill.errors import DataError

SAME_IOU = 0.3
NESTED = 0.8  # part of a box that lies in another one's
LIGHT, UNJUDGED = "light", "unjudged"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JudgedBoxes:
    """Boxes of one clip and what they hold.

    Attributes:
        frames: First and last frame of each box; int64 ``[N, 2]``.
        xyxy: Corners, px; float32 ``[N, 4]``.
        kinds: ``light``, ``pedestrian`` (a signal for pedestrians) or ``other``.
        numbers: Tell the lights of the clip apart; 0 where it is not known which one it is.
    """

    frames: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    kinds: tuple[str, ...]
    numbers: tuple[int, ...]

    def judge(self, frame: int, box: NDArray[np.float32]) -> tuple[str, int]:
        """What a box ``[4]`` of a frame holds, and its number; ``UNJUDGED`` if no judged box is there."""
        overlap = pairwise_iou(box[None], self.xyxy)[0]
        overlap[(self.frames[:, 0] > frame) | (self.frames[:, 1] < frame)] = 0
        best = int(overlap.argmax()) if len(overlap) else 0
        if not len(overlap) or overlap[best] < SAME_IOU:
            return UNJUDGED, 0
        return self.kinds[best], self.numbers[best]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedTracks:
    """The tracks of a clip that had a state.

    Attributes:
        minutes: Length of the clip.
        tracks: Number of them by kind; a track is what most of its detections with a state are.
        detections: Number of detections with a state by kind.
        lights: Number of different lights, of those with a number, that had a state.
        nested: Number of detections with a state whose box lies in another one's: one light, told twice.
    """

    minutes: float
    tracks: Mapping[str, int]
    detections: Mapping[str, int]
    lights: int
    nested: int


def read_judged(path: Path) -> dict[str, JudgedBoxes]:
    """Read judged boxes: by the file name of the clip.

    Args:
        path: JSON with ``clips``: for each a list of rows of first frame, last frame, x0, y0, x1, y1, kind,
            number.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        clips = json.loads(path.read_text("utf-8"))["clips"]
        return {
            name: JudgedBoxes(
                frames=np.array([row[:2] for row in rows], np.int64).reshape(-1, 2),
                xyxy=np.array([row[2:6] for row in rows], np.float32).reshape(-1, 4),
                kinds=tuple(str(row[6]) for row in rows),
                numbers=tuple(int(row[7]) for row in rows),
            )
            for name, rows in clips.items()
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(
            f"{path} holds no judged boxes: {type(error).__name__} {error}",
            hint='"clips" with rows of first frame, last frame, x0, y0, x1, y1, kind, number for each clip',
        ) from error


def score_confirmed(
    judged: JudgedBoxes, played: Sequence[PlayedFrame], names: Sequence[str]
) -> ConfirmedTracks:
    """What the tracks are that were given one of the states ``names``; frames are counted from 0."""
    votes: dict[int, Counter[str]] = {}
    numbers: set[int] = set()
    nested = 0
    for number, frame in enumerate(played):
        for box, track_id, state in zip(frame.xyxy, frame.track_id, frame.states, strict=True):
            if state in names:
                kind, light = judged.judge(number, box)
                votes.setdefault(int(track_id), Counter())[kind] += 1
                numbers.add(light)
        nested += _nested(frame.xyxy[np.isin(frame.states, names)])
    total: Counter[str] = Counter()
    for counts in votes.values():
        total.update(counts)
    period_s = (played[-1].time_s - played[0].time_s) / max(len(played) - 1, 1) if played else 0.0
    return ConfirmedTracks(
        minutes=len(played) * period_s / 60,
        tracks=dict(Counter(counts.most_common(1)[0][0] for counts in votes.values())),
        detections=dict(total),
        lights=len(numbers - {0}),
        nested=nested,
    )


def _nested(xyxy: NDArray[np.float32]) -> int:
    """How many of the boxes ``[N, 4]`` of a frame lie in another one."""
    apart = nms(xyxy, np.ones(len(xyxy), np.float32), 1.0, len(xyxy), nested_threshold=NESTED)
    return len(xyxy) - len(apart)
