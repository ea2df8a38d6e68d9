"""Multi-object tracking: detections are matched by IoU with boxes predicted at constant velocity.

Detections with a high score are matched first. Those with a low score are matched next; they can continue a
track but cannot start one. A second stage with a wider gate then matches high-score detections that are left.
Boxes are expanded before IoU is taken, because a distant traffic light may move by more than its own width
between two frames.

Times are in seconds. Velocity is trusted in full for one typical period of the source, which is measured, and
damped beyond it; so a gap between two frames is treated as so many frames without a detection.

Source: Zhang et al., ByteTrack, ECCV 2022, https://arxiv.org/abs/2110.06864 (association by score);
Yang et al., C-BIoU tracker, WACV 2023, https://arxiv.org/abs/2211.13317 (expanded boxes, two stages).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgestill.boxes import cxcywh_to_xyxy, nms, pairwise_iou, xyxy_to_cxcywh
from edgestill.detections import Detections

NO_TRACK = -1
MIN_SIDE_PX = 0.1  # sizes are compared by their ratio
DEFAULT_PERIOD_S = 1 / 25
PERIODS_KEPT = 15  # frames whose median period is the typical one
MIN_STEP = 0.5  # periods: frames that come closer say little about velocity
SAME_TIME_S = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSettings:
    """Thresholds of association and of the life of a track.

    Attributes:
        start_score: Lowest score of a detection that may start a track; below it one may continue a track.
        match_iou: Lowest IoU of a match, of the expanded boxes.
        widen: Fraction of a box's size by which each of its sides is moved out before IoU is taken.
        second_stage_widen: The same in the second stage, for objects that moved by more than their size. Only
            tracks that had a detection in the previous frame take part in it.
        second_stage_size_ratio: Largest ratio of the heights, and of the widths, of a match in that stage.
        max_age_s: Seconds without a detection after which a track ends.
        min_age_frames: Frames without a detection that every confirmed track survives, at low frame rates.
        min_hits: Detections that a track needs to be confirmed and get an id.
        by_class: Whether a track matches detections of its own class only. False for objects that change
            class, as a traffic light does; overlapping detections of different classes are then duplicates.
        duplicate_iou: Lowest IoU of such duplicates.
    """

    start_score: float = 0.35
    match_iou: float = 0.15
    widen: float = 0.3
    second_stage_widen: float = 1.5
    second_stage_size_ratio: float = 1.4
    max_age_s: float = 1.0
    min_age_frames: int = 3
    min_hits: int = 2
    by_class: bool = True
    duplicate_iou: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Tracked:
    """The detections of one frame with their track ids.

    Attributes:
        detections: The detections of the frame, highest score first.
        track_id: int64 ``[N]``; ``NO_TRACK`` where a detection belongs to no confirmed track.
        ended: Ids of the tracks that ended with this frame.
    """

    detections: Detections
    track_id: NDArray[np.int64]
    ended: tuple[int, ...] = ()


class _Track:
    """An alpha-beta filter of one object: centre and size in source pixels, velocity in pixels per second."""

    ALPHA, BETA = 0.7, 0.3  # gains of position and velocity
    DAMPING = 0.9  # of the velocity, for each period without a detection

    def __init__(self, box: NDArray[np.float32], class_id: int) -> None:
        self.box = box.astype(np.float64)  # cx, cy, w, h
        self.velocity = np.zeros(2)
        self.class_id = class_id
        self.id = NO_TRACK
        self.hits, self.missed = 1, 0
        self.age_s = 0.0  # time since the latest detection

    def predict(self, step_s: float, period_s: float) -> None:
        """Predict the position in the next frame; call once a frame, before ``correct``.

        Args:
            step_s: Time since the previous frame, seconds.
            period_s: Typical time between two frames, seconds.
        """
        before = self._periods_of_motion(self.age_s / period_s)
        self.age_s += step_s
        self.box[:2] += self.velocity * period_s * (self._periods_of_motion(self.age_s / period_s) - before)
        self.missed += 1

    def correct(self, box: NDArray[np.float32], class_id: int, period_s: float) -> None:
        """Update the state with the detection of this frame, cx, cy, w, h in source pixels."""
        innovation = box[:2] - self.box[:2]
        self.box[:2] += self.ALPHA * innovation
        # The innovation is that of the time without a detection, in which the velocity was damped. The first
        # one initialises it.
        periods = max(self.age_s / period_s, MIN_STEP)
        gain = 1.0 if self.hits == 1 else self.BETA
        self.velocity *= self.DAMPING ** max(periods - 1, 0)
        self.velocity += gain * innovation / (periods * period_s)
        self.box[2:] += self.ALPHA * (box[2:] - self.box[2:])
        self.class_id = class_id
        self.hits += 1
        self.missed, self.age_s = 0, 0.0

    def _periods_of_motion(self, periods: float) -> float:
        """Periods at full velocity with the displacement of so many periods at damped velocity.

        The first one is not damped; n whole ones are the geometric series 1 + d + ... + d^(n-1).
        """
        if periods <= 1:
            return periods
        return float((1 - self.DAMPING**periods) / (1 - self.DAMPING))


class Tracker:
    """Assigns track ids to the detections of consecutive frames. Deterministic.

    Args:
        settings: Thresholds; None for the defaults.
        period_s: Expected time between two frames, seconds, until it is measured.
    """

    def __init__(
        self, settings: TrackerSettings | None = None, *, period_s: float = DEFAULT_PERIOD_S
    ) -> None:
        self.settings = settings or TrackerSettings()
        self._tracks: list[_Track] = []
        self._next_id = 1
        self._last_s: float | None = None
        self._period_s = period_s
        self._steps_s: deque[float] = deque(maxlen=PERIODS_KEPT)
        self._forgotten: tuple[int, ...] = ()

    def reset(self) -> None:
        """End all tracks, as after a gap in which everything may have moved; ids go on.

        The ids are among the ``ended`` of the next update. The typical period of the source stays.
        """
        self._forgotten += tuple(track.id for track in self._tracks if track.id != NO_TRACK)
        self._tracks = []
        self._last_s = None

    def update(self, detections: Detections, time_s: float) -> Tracked:
        """Associate the detections of the next frame with the tracks.

        Args:
            detections: The detections.
            time_s: Time of the frame, seconds; must not decrease.

        Returns:
            The detections with their track ids. Where ``by_class`` is false, of an object that was detected
            as two classes only the detection with the higher score is among them.
        """
        settings = self.settings
        if not settings.by_class:
            one_each = nms(detections.xyxy, detections.score, settings.duplicate_iou, len(detections))
            detections = detections.where(one_each)
        step_s = self._step(time_s)
        for track in self._tracks:
            track.predict(step_s, self._period_s)
        boxes = xyxy_to_cxcywh(detections.xyxy)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], MIN_SIDE_PX)
        high = detections.score >= settings.start_score
        owners: dict[int, _Track] = {}
        for group, second_stage in ((high, False), (~high, False), (high, True)):
            rows = [int(row) for row in np.flatnonzero(group) if int(row) not in owners]
            owners |= self._match(boxes, detections.class_id, rows, second_stage=second_stage)
        ended, self._forgotten = self._forgotten + self._end_tracks(), ()
        for row in map(int, np.flatnonzero(high)):
            if row not in owners:
                owners[row] = _Track(boxes[row], int(detections.class_id[row]))
                self._tracks.append(owners[row])
        return Tracked(detections, self._ids(owners, len(detections)), ended)

    def _match(
        self, boxes: NDArray[np.float32], class_id: NDArray[np.int64], rows: list[int], *, second_stage: bool
    ) -> dict[int, _Track]:
        """Match some detections with tracks that have none in this frame, highest IoU first (greedy)."""
        settings = self.settings
        free = [t for t in self._tracks if t.missed == 1 or (t.missed and not second_stage)]
        if not free or not rows:
            return {}
        expected = np.stack([t.box for t in free]).astype(np.float32)
        widen = settings.second_stage_widen if second_stage else settings.widen
        overlap = pairwise_iou(_widened(expected, widen), _widened(boxes[rows], widen))
        if second_stage:
            change = np.abs(np.log(expected[:, None, 2:] / boxes[None, rows, 2:])).max(axis=2)
            overlap[change > np.log(settings.second_stage_size_ratio)] = 0
        if settings.by_class:
            overlap[np.array([t.class_id for t in free])[:, None] != class_id[rows]] = 0
        pairs: dict[int, _Track] = {}
        for flat in np.argsort(-overlap, axis=None, kind="stable"):
            at, column = divmod(int(flat), len(rows))
            if overlap[at, column] < settings.match_iou:
                break
            track, row = free[at], rows[column]
            if track.missed and row not in pairs:
                track.correct(boxes[row], int(class_id[row]), self._period_s)
                pairs[row] = track
        return pairs

    def _end_tracks(self) -> tuple[int, ...]:
        """Remove tracks without a detection for too long; the ids of the confirmed ones among them."""
        old = [t for t in self._tracks if self._is_old(t)]
        self._tracks = [t for t in self._tracks if t not in old]
        return tuple(t.id for t in old if t.id != NO_TRACK)

    def _is_old(self, track: _Track) -> bool:
        settings = self.settings
        if track.id == NO_TRACK:  # not confirmed yet, it may be a false positive: it ends sooner
            return track.missed > settings.min_hits
        return track.missed > settings.min_age_frames and track.age_s > settings.max_age_s + SAME_TIME_S

    def _step(self, time_s: float) -> float:
        """Seconds since the previous frame; updates the typical period."""
        last_s, self._last_s = self._last_s, time_s
        if last_s is None:
            return 0.0
        step_s = max(time_s - last_s, 0.0)
        if step_s > 0:
            self._steps_s.append(step_s)
            self._period_s = float(np.median(self._steps_s))
        return step_s

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
