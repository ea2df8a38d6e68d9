"""Keep identities over frames: boxes matched by overlap with where a constant velocity takes them.

Confident detections are matched first, doubtful ones may then continue a track but never start one. Boxes
are widened before they are compared, because a distant traffic light may move by more than its own width
between two frames.

Source: Zhang et al., ByteTrack, ECCV 2022, https://arxiv.org/abs/2110.06864 (two rounds by score);
Yang et al., C-BIoU tracker, WACV 2023, https://arxiv.org/abs/2211.13317 (widened boxes).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgestill.boxes import cxcywh_to_xyxy, nms, pairwise_iou, xyxy_to_cxcywh
from edgestill.detections import Detections

NO_TRACK = -1
MIN_SIDE_PX = 0.1  # sizes are compared by their ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSettings:
    """How tracks start, go on and end.

    Attributes:
        start_score: A detection below this may continue a track, but not start one.
        match_iou: Least overlap of the widened boxes.
        widen: Each side of a box is moved out by this part of the box's size before overlap is taken.
        leap: The same for confident detections that are then left, whose object moved by more than its
            size; they match only tracks of like size that were seen in the last frame.
        like_size: Largest ratio of two heights, and of two widths, of boxes of like size.
        max_age: Frames that a track survives without a detection.
        min_hits: Detections before a track gets its id.
        by_class: Whether a track keeps its class. False for objects that change theirs, as a traffic
            light does; then two boxes of different classes on one place are one object.
        same_place_iou: Overlap from which two detections are one object, where ``by_class`` is false.
    """

    start_score: float = 0.35
    match_iou: float = 0.15
    widen: float = 0.3
    leap: float = 1.5
    like_size: float = 1.4
    max_age: int = 15
    min_hits: int = 2
    by_class: bool = True
    same_place_iou: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Tracked:
    """The detections of one frame with their identities.

    Attributes:
        detections: What was found, highest score first.
        track_id: int64 ``[N]``; ``NO_TRACK`` where a detection belongs to no confirmed track.
        ended: Ids of the tracks that ended with this frame.
    """

    detections: Detections
    track_id: NDArray[np.int64]
    ended: tuple[int, ...] = ()


class _Track:
    """Centre and size in source pixels, smoothed; velocity in pixels per frame (alpha-beta filter)."""

    ALPHA, BETA, DAMPING = 0.7, 0.3, 0.9

    def __init__(self, box: NDArray[np.float32], class_id: int) -> None:
        self.box = box.astype(np.float64)  # cx, cy, w, h
        self.velocity = np.zeros(2)
        self.class_id = class_id
        self.id = NO_TRACK
        self.hits, self.missed = 1, 0

    def predict(self) -> None:
        """Move on by one frame."""
        self.box[:2] += self.velocity
        self.missed += 1

    def correct(self, box: NDArray[np.float32], class_id: int) -> None:
        """Take a detection in."""
        surprise = box[:2] - self.box[:2]
        self.box[:2] += self.ALPHA * surprise
        # A gap of n frames spreads the surprise over n steps. The first step sets the velocity whole.
        gain = 1.0 if self.hits == 1 else self.BETA
        self.velocity += gain * surprise / self.missed
        self.box[2:] += self.ALPHA * (box[2:] - self.box[2:])
        self.class_id = class_id
        self.hits += 1
        self.missed = 0

    def coast(self) -> None:
        """No detection: an old velocity is trusted less with every frame."""
        self.velocity *= self.DAMPING


class Tracker:
    """Gives detections of consecutive frames their identities. Deterministic."""

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self.settings = settings or TrackerSettings()
        self._tracks: list[_Track] = []
        self._next_id = 1

    def update(self, detections: Detections) -> Tracked:
        """Match the detections of the next frame.

        Returns:
            The detections with their tracks. Where ``by_class`` is false they are fewer than came in if one
            object was reported as two classes: the better report stays.
        """
        rule = self.settings
        if not rule.by_class:
            one_each = nms(detections.xyxy, detections.score, rule.same_place_iou, len(detections))
            detections = detections.where(one_each)
        for track in self._tracks:
            track.predict()
        boxes = xyxy_to_cxcywh(detections.xyxy)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], MIN_SIDE_PX)
        sure = detections.score >= rule.start_score
        owners: dict[int, _Track] = {}
        for chosen, leap in ((sure, False), (~sure, False), (sure, True)):
            rows = [int(row) for row in np.flatnonzero(chosen) if int(row) not in owners]
            owners |= self._match(boxes, detections.class_id, rows, leap=leap)
        ended = self._let_go()
        for row in map(int, np.flatnonzero(sure)):
            if row not in owners:
                owners[row] = _Track(boxes[row], int(detections.class_id[row]))
                self._tracks.append(owners[row])
        return Tracked(detections, self._ids(owners, len(detections)), ended)

    def _match(
        self, boxes: NDArray[np.float32], class_id: NDArray[np.int64], rows: list[int], *, leap: bool
    ) -> dict[int, _Track]:
        """Pair some detections with the tracks that have none yet, best overlap first."""
        rule = self.settings
        free = [t for t in self._tracks if t.missed == 1 or (t.missed and not leap)]
        if not free or not rows:
            return {}
        expected = np.stack([t.box for t in free]).astype(np.float32)
        widen = rule.leap if leap else rule.widen
        overlap = pairwise_iou(_widened(expected, widen), _widened(boxes[rows], widen))
        if leap:
            change = np.abs(np.log(expected[:, None, 2:] / boxes[None, rows, 2:])).max(axis=2)
            overlap[change > np.log(rule.like_size)] = 0
        if rule.by_class:
            overlap[np.array([t.class_id for t in free])[:, None] != class_id[rows]] = 0
        pairs: dict[int, _Track] = {}
        for flat in np.argsort(-overlap, axis=None, kind="stable"):
            at, column = divmod(int(flat), len(rows))
            if overlap[at, column] < rule.match_iou:
                break
            track, row = free[at], rows[column]
            if track.missed and row not in pairs:
                track.correct(boxes[row], int(class_id[row]))
                pairs[row] = track
        return pairs

    def _let_go(self) -> tuple[int, ...]:
        """Drop the tracks that were not seen for too long; ids of the confirmed ones among them."""
        rule = self.settings
        # A track without an id is a guess, and a guess is given up sooner.
        old = [t for t in self._tracks if t.missed > (rule.max_age if t.id != NO_TRACK else rule.min_hits)]
        self._tracks = [t for t in self._tracks if t not in old]
        for track in self._tracks:
            if track.missed:
                track.coast()
        return tuple(t.id for t in old if t.id != NO_TRACK)

    def _ids(self, owners: dict[int, _Track], count: int) -> NDArray[np.int64]:
        track_id = np.full(count, NO_TRACK, np.int64)
        for row, track in sorted(owners.items()):
            if track.id == NO_TRACK and track.hits >= self.settings.min_hits:
                track.id, self._next_id = self._next_id, self._next_id + 1
            track_id[row] = track.id
        return track_id


def _widened(cxcywh: NDArray[np.float32], widen: float) -> NDArray[np.float32]:
    factor = 1 + 2 * widen
    return cxcywh_to_xyxy(np.asarray(cxcywh * np.array([1, 1, factor, factor]), np.float32))
