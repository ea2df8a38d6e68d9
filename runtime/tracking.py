"""Multi-object tracking: detections are matched with boxes predicted at constant velocity.

A match is judged by the distance of the centres in units of the object's size, and by the change of size. How
far is allowed depends on the seconds since the object's last detection, so one set of thresholds serves every
frame rate. Small boxes need not overlap: at 5 frames per second a distant light moves by several times its
width. Most of that motion is the camera's and common to all objects. The common shift of a frame is found
by trying the shifts that bring a track onto a detection, see ``runtime.association``.

Detections with a high score are matched first. Those with a low score can continue a track but cannot start
one. All times are in seconds of the stream.

Source: Zhang et al., ByteTrack, ECCV 2022, https://arxiv.org/abs/2110.06864 (association by score);
Aharon et al., BoT-SORT, 2022, https://arxiv.org/abs/2206.14651 (compensation of the camera's motion).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgestill.boxes import nms, xyxy_to_cxcywh
from edgestill.detections import Detections
from runtime.association import Gates, Predicted, assign, common_shift, distances
from runtime.repeats import RepeatedPictures

NO_TRACK = -1
MIN_SIDE_PX = 0.1  # sizes are compared by their ratio
DEFAULT_PERIOD_S = 1 / 25
PERIODS_KEPT = 15  # frames whose median period is the typical one
MIN_STEP = 0.5  # periods: frames that come closer say little about velocity
LEAST_AGE = 1.5  # periods: every track survives one frame without a detection
SAME_TIME_S = 1e-6
SHARED_BY = 2  # matches that make a shift the camera's: then tracks without a detection move with it


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSettings:
    """Thresholds of association and of the life of a track.

    Attributes:
        start_score: Lowest score of a detection that may start a track; below it one may continue a track.
        gates: How far from its prediction a detection may be.
        max_age_s: Seconds without a detection after which a track ends, if that is more than one frame.
        new_age_s: The same for a track that is not confirmed.
        confirm_s: Seconds from the first to the latest detection, two at least, after which a track is
            confirmed and gets an id.
        sure_score: Score at which a track is confirmed by its first detection, at low rates.
        low_rate_s: Typical time between two frames from which on the rate is low.
        by_class: Whether a track matches detections of its own class only. False for objects that change
            class, as a traffic light does; of overlapping detections, the one with the highest score counts.
        duplicate_iou: Largest IoU of two detections of different such objects.
        duplicate_nested: The largest part of the smaller of the two that lies in the other.
    """

    start_score: float = 0.35
    gates: Gates = field(default_factory=Gates)
    max_age_s: float = 1.0
    new_age_s: float = 0.1
    confirm_s: float = 0.03
    sure_score: float = 0.5
    low_rate_s: float = 0.12
    by_class: bool = True
    duplicate_iou: float = 0.5
    duplicate_nested: float = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Tracked:
    """The detections of one frame with their track ids.

    Attributes:
        detections: The detections of the frame, highest score first.
        track_id: int64 ``[N]``; ``NO_TRACK`` where a detection belongs to no confirmed track.
        ended: Ids of the tracks that ended with this frame.
        repeats: Whether the frame shows the picture of the one before; nothing new is known by it.
    """

    detections: Detections
    track_id: NDArray[np.int64]
    ended: tuple[int, ...] = ()
    repeats: bool = False


class _Track:
    """An alpha-beta filter of one object: centre and size in source pixels, velocity in pixels per second."""

    PLACE_S, VELOCITY_S = 0.033, 0.2  # time constants of the gains: after so long a detection has 63 %
    DAMPING_S = 3.0  # time constant at which velocity is lost without a detection

    def __init__(self, box: NDArray[np.float32], class_id: int, score: float) -> None:
        self.box = box.astype(np.float64)  # cx, cy, w, h
        self.velocity = np.zeros(2)
        self.class_id = class_id
        self.best_score = score
        self.id = NO_TRACK
        self.hits, self.missed = 1, 0
        self.age_s = 0.0  # time since the latest detection
        self.life_s = 0.0  # time from the first detection to the latest
        self.shift = np.zeros(2)  # of the camera since the latest detection, px

    def predict(self, step_s: float) -> None:
        """Predict the position in the next frame; call once a frame, before ``correct``."""
        before = self._motion_s(self.age_s)
        self.age_s += step_s
        self.box[:2] += self.velocity * (self._motion_s(self.age_s) - before)
        self.missed += 1

    def correct(self, box: NDArray[np.float32], class_id: int, score: float, least_s: float) -> None:
        """Update the state with the detection of this frame, cx, cy, w, h in source pixels."""
        innovation = box[:2] - self.box[:2]
        elapsed_s = max(self.age_s, least_s)
        place = 1 - np.exp(-elapsed_s / self.PLACE_S)
        self.box[:2] += place * innovation
        self.box[2:] += place * (box[2:] - self.box[2:])
        # The first innovation initialises the velocity.
        gain = 1.0 if self.hits == 1 else 1 - np.exp(-elapsed_s / self.VELOCITY_S)
        self.velocity *= np.exp(-self.age_s / self.DAMPING_S)
        self.velocity += gain * (innovation + self.shift) / elapsed_s
        self.class_id = class_id
        self.best_score = max(self.best_score, score)
        self.hits += 1
        self.life_s += self.age_s
        self.missed, self.age_s = 0, 0.0
        self.shift[:] = 0

    def move(self, shift: NDArray[np.float64]) -> None:
        """Move the prediction with the camera."""
        self.box[:2] += shift
        self.shift += shift

    def _motion_s(self, age_s: float) -> float:
        """Seconds at full velocity with the displacement of ``age_s`` at damped velocity."""
        return float(self.DAMPING_S * (1 - np.exp(-age_s / self.DAMPING_S)))


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
        self._forget_pictures()

    def reset(self) -> None:
        """End all tracks, as after a gap in which everything may have moved; ids go on.

        The ids are among the ``ended`` of the next update. The typical period of the source stays.
        """
        self._forgotten += tuple(track.id for track in self._tracks if track.id != NO_TRACK)
        self._tracks = []
        self._last_s = None
        self._forget_pictures()

    def _forget_pictures(self) -> None:
        self._pictures = RepeatedPictures()
        self._latest_ids = np.zeros(0, np.int64)
        self._had_detections = False

    def update(self, detections: Detections, time_s: float) -> Tracked:
        """Associate the detections of the next frame with the tracks.

        Args:
            detections: The detections.
            time_s: Time of the frame, seconds; must not decrease.

        Returns:
            The detections with their track ids. Where ``by_class`` is false, of an object that was detected
            twice only the detection with the higher score is among them.
        """
        settings = self.settings
        if not settings.by_class:
            detections = detections.where(self._one_each(detections))
        same = self._pictures.same_as(detections, time_s)
        if same is not None:
            return Tracked(detections, np.append(self._latest_ids, NO_TRACK)[same], repeats=True)
        step_s = self._step(time_s, has_detections=len(detections) > 0)
        for track in self._tracks:
            track.predict(step_s)
        boxes = xyxy_to_cxcywh(detections.xyxy)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], MIN_SIDE_PX)
        high = detections.score >= settings.start_score
        owners = self._match(boxes, detections, high, step_s)
        ended, self._forgotten = self._forgotten + self._end_tracks(), ()
        for row in map(int, np.flatnonzero(high)):
            if row not in owners:
                track = _Track(boxes[row], int(detections.class_id[row]), float(detections.score[row]))
                owners[row] = track
                self._tracks.append(track)
        self._latest_ids = self._ids(owners, len(detections))
        return Tracked(detections, self._latest_ids, ended)

    def _one_each(self, detections: Detections) -> NDArray[np.int64]:
        """Which detections stay if each object has one: NMS across classes, also of a box in another."""
        settings = self.settings
        return nms(
            detections.xyxy,
            detections.score,
            settings.duplicate_iou,
            len(detections),
            nested_threshold=settings.duplicate_nested,
        )

    def _match(
        self,
        boxes: NDArray[np.float32],
        detections: Detections,
        high: NDArray[np.bool_],
        step_s: float,
    ) -> dict[int, _Track]:
        """The track of each detection that continues one; moves the others with the camera."""
        tracks, gates = self._tracks, self.settings.gates
        if not tracks or not len(boxes):
            return {}
        allowed = np.ones((len(tracks), len(boxes)), np.bool_)
        if self.settings.by_class:
            allowed = np.array([t.class_id for t in tracks])[:, None] == detections.class_id
        # A picture that was taken for a new one too early must not narrow the gates of the next
        least_s = self._period_s
        expected = Predicted(
            boxes=np.stack([t.box for t in tracks]),
            age_s=np.maximum([t.age_s for t in tracks], least_s),
            is_new=np.array([t.hits == 1 for t in tracks]),
        )
        found = boxes.astype(np.float64)
        shift, support = common_shift(expected, found[high], allowed[:, high], max(step_s, least_s), gates)
        distance = np.where(allowed, distances(expected.moved(shift), found, gates), np.inf)
        pairs = assign(np.where(high, distance, np.inf))
        for at, row in pairs:
            distance[at], distance[:, row] = np.inf, np.inf
        pairs += assign(np.where(high, np.inf, distance))
        owners = {row: tracks[at] for at, row in pairs}
        for row, track in owners.items():
            score = float(detections.score[row])
            track.correct(boxes[row], int(detections.class_id[row]), score, self._period_s * MIN_STEP)
        if support >= SHARED_BY:
            for track in tracks:
                if track.missed:
                    track.move(shift)
        return owners

    def _end_tracks(self) -> tuple[int, ...]:
        """Remove tracks without a detection for too long; the ids of the confirmed ones among them."""
        old = [t for t in self._tracks if self._is_old(t)]
        self._tracks = [t for t in self._tracks if t not in old]
        return tuple(t.id for t in old if t.id != NO_TRACK)

    def _is_old(self, track: _Track) -> bool:
        settings = self.settings
        most_s = settings.new_age_s if track.id == NO_TRACK else settings.max_age_s
        return track.age_s > max(most_s, LEAST_AGE * self._period_s) + SAME_TIME_S

    def _step(self, time_s: float, *, has_detections: bool) -> float:
        """Seconds since the previous picture; updates the typical period.

        Frames without detections are left out of the period, as nothing tells whether they repeat a picture.
        """
        last_s, self._last_s = self._last_s, time_s
        is_measured, self._had_detections = has_detections and self._had_detections, has_detections
        step_s = 0.0 if last_s is None else max(time_s - last_s, 0.0)
        if step_s > 0 and is_measured:
            self._steps_s.append(step_s)
            self._period_s = float(np.median(self._steps_s))
        return step_s

    def _ids(self, owners: dict[int, _Track], count: int) -> NDArray[np.int64]:
        track_id = np.full(count, NO_TRACK, np.int64)
        for row, track in sorted(owners.items()):
            if track.id == NO_TRACK and self._is_confirmed(track):
                track.id, self._next_id = self._next_id, self._next_id + 1
            track_id[row] = track.id
        return track_id

    def _is_confirmed(self, track: _Track) -> bool:
        settings = self.settings
        if track.hits > 1 and track.life_s >= settings.confirm_s - SAME_TIME_S:
            return True
        return self._period_s >= settings.low_rate_s and track.best_score >= settings.sure_score
