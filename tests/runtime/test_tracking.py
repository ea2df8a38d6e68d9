"""Identities over frames."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgestill.detections import Detections
from runtime.tracking import NO_TRACK, Tracked, Tracker, TrackerSettings

LIGHTS = TrackerSettings(by_class=False)


def found(*rows: tuple[float, float, float, int], size: tuple[float, float] = (10, 24)) -> Detections:
    """Boxes of one size at (centre x, centre y) with a score and a class."""
    width, height = size
    xyxy = [(x - width / 2, y - height / 2, x + width / 2, y + height / 2) for x, y, _, _ in rows]
    return Detections(
        np.array(xyxy, np.float32).reshape(-1, 4),
        np.array([row[2] for row in rows], np.float32),
        np.array([row[3] for row in rows], np.int64),
    )


def ids(tracker: Tracker, *frames: Detections) -> list[list[int]]:
    return [step(tracker, frame).track_id.tolist() for frame in frames]


def step(tracker: Tracker, frame: Detections, period_s: float = 1 / 25) -> Tracked:
    """The next frame, so many seconds after the one before."""
    last_s = tracker._last_s
    return tracker.update(frame, 0.0 if last_s is None else last_s + period_s)


def test_an_object_gets_its_id_with_the_second_detection() -> None:
    assert ids(Tracker(), *[found((50, 50, 0.9, 0))] * 3) == [[NO_TRACK], [1], [1]]


def test_an_object_that_moves_keeps_its_id() -> None:
    frames = [found((50 + 4 * i, 50 - 2 * i, 0.9, 0)) for i in range(20)]
    assert ids(Tracker(), *frames)[1:] == [[1]] * 19


def test_a_reset_ends_all_tracks_and_ids_go_on() -> None:
    tracker = Tracker()
    ids(tracker, *[found((50, 50, 0.9, 0), (90, 50, 0.9, 0))] * 2)
    tracker.reset()
    after = [tracker.update(found((50, 50, 0.9, 0)), 100.0 + i / 25) for i in range(3)]
    assert [step.track_id.tolist() for step in after] == [[NO_TRACK], [3], [3]]
    assert [step.ended for step in after] == [(1, 2), (), ()]


def test_an_object_that_moves_by_more_than_its_width_keeps_its_id() -> None:
    frames = [found((50 + 14 * i, 50, 0.9, 0)) for i in range(10)]
    assert ids(Tracker(LIGHTS), *frames)[1:] == [[1]] * 9


def test_two_objects_keep_theirs_whatever_their_order() -> None:
    tracker = Tracker()
    a, b = (50, 50, 0.9, 0), (90, 50, 0.8, 0)
    ids(tracker, found(a, b), found(a, b))
    assert step(tracker, found(b, a)).track_id.tolist() == [2, 1]


def test_objects_that_pass_each_other_keep_theirs() -> None:
    tracker = Tracker(TrackerSettings())
    lanes = [found((20 + 6 * i, 50, 0.9, 0), (140 - 6 * i, 70, 0.9, 0)) for i in range(20)]
    assert ids(tracker, *lanes)[1:] == [[1, 2]] * 19


def test_a_gap_is_bridged_where_the_velocity_leads() -> None:
    tracker = Tracker()
    ids(tracker, *[found((50 + 6 * i, 50, 0.9, 0)) for i in range(8)])
    ids(tracker, *[Detections.empty()] * 3)
    assert step(tracker, found((50 + 6 * 11, 50, 0.9, 0))).track_id.tolist() == [1]


def test_a_track_ends_after_its_age_and_says_so_once() -> None:
    tracker = Tracker(TrackerSettings(max_age_s=3 / 25))
    ids(tracker, *[found((50, 50, 0.9, 0))] * 2)
    assert [step(tracker, Detections.empty()).ended for _ in range(6)] == [(), (), (), (1,), (), ()]


def test_an_id_is_never_used_again() -> None:
    tracker = Tracker(TrackerSettings(max_age_s=1 / 25, min_age_frames=1))
    ids(tracker, *[found((50, 50, 0.9, 0))] * 2, *[Detections.empty()] * 3)
    assert ids(tracker, *[found((50, 50, 0.9, 0))] * 2)[-1] == [2]


def test_a_single_false_alarm_gets_no_id() -> None:
    tracker = Tracker()
    ids(tracker, found((50, 50, 0.9, 0)), *[Detections.empty()] * 4)
    assert ids(tracker, *[found((150, 50, 0.9, 0))] * 2)[-1] == [1]


def test_a_doubtful_detection_starts_no_track() -> None:
    assert ids(Tracker(), *[found((50, 50, 0.3, 0))] * 5) == [[NO_TRACK]] * 5


def test_a_doubtful_detection_continues_a_track() -> None:
    tracker = Tracker()
    ids(tracker, *[found((50, 50, 0.9, 0))] * 2)
    assert ids(tracker, *[found((50, 50, 0.3, 0))] * 3) == [[1]] * 3


def test_the_confident_detection_has_the_first_choice() -> None:
    tracker = Tracker()
    ids(tracker, *[found((50, 50, 0.9, 0))] * 2)
    assert step(tracker, found((52, 50, 0.9, 0), (50, 50, 0.3, 0))).track_id.tolist() == [1, NO_TRACK]


def test_a_light_keeps_its_id_when_it_switches() -> None:
    frames = [found((50, 50, 0.9, 0))] * 3 + [found((50, 50, 0.9, 2))] * 3
    assert ids(Tracker(LIGHTS), *frames)[1:] == [[1]] * 5


def test_a_car_is_not_a_person() -> None:
    frames = [found((50, 50, 0.9, 0))] * 3 + [found((50, 50, 0.9, 2))] * 3
    assert ids(Tracker(TrackerSettings(by_class=True)), *frames)[-1] == [2]


def test_a_light_that_is_reported_twice_is_one_light() -> None:
    tracked = step(Tracker(LIGHTS), found((50, 50, 0.9, 0), (51, 50, 0.6, 1)))
    assert tracked.detections.class_id.tolist() == [0]


def test_two_classes_on_one_place_may_be_two_things() -> None:
    tracked = step(Tracker(TrackerSettings(by_class=True)), found((50, 50, 0.9, 0), (51, 50, 0.6, 1)))
    assert len(tracked.detections) == 2


def test_a_leap_needs_a_box_of_like_size() -> None:
    tracker = Tracker(LIGHTS)
    ids(tracker, *[found((50, 50, 0.9, 0))] * 2)
    assert step(tracker, found((68, 50, 0.9, 0), size=(18, 44))).track_id.tolist() == [NO_TRACK]


def test_a_box_without_area_does_no_harm() -> None:
    tracker = Tracker(LIGHTS)
    assert ids(tracker, *[found((50, 50, 0.9, 0), size=(0, 0))] * 2)[0] == [NO_TRACK]


def test_nothing_comes_of_nothing() -> None:
    assert ids(Tracker(), Detections.empty()) == [[]]


@pytest.mark.parametrize("rate", [2, 5, 25, 60])
def test_the_same_frames_give_the_same_ids_at_every_constant_rate(rate: float) -> None:
    rng = np.random.default_rng(7)
    places = rng.uniform(0, 400, (6, 2))
    seen = rng.uniform(size=(30, 6)) < 0.8  # one detection in five is missing

    def play(period_s: float) -> list[list[int]]:
        tracker = Tracker(TrackerSettings(max_age_s=6 * period_s, min_age_frames=0), period_s=period_s)
        ids_by_frame = []
        for t, row in enumerate(seen):
            boxes = [(x + 5 * t, y, 0.9, 0) for (x, y), is_seen in zip(places, row, strict=True) if is_seen]
            ids_by_frame.append(step(tracker, found(*boxes), period_s).track_id.tolist())
        return ids_by_frame

    assert play(1 / rate) == play(1 / 30)


@pytest.mark.parametrize("rate", [10, 25, 60, 120])
def test_a_track_lasts_a_second_at_every_rate(rate: int) -> None:
    tracker = Tracker()
    for _ in range(2):
        step(tracker, found((50, 50, 0.9, 0)), 1 / rate)
    ended = [step(tracker, Detections.empty(), 1 / rate).ended for _ in range(2 * rate)]
    assert ended.index((1,)) + 1 == rate + 1


def test_at_a_low_rate_a_track_survives_three_frames() -> None:
    tracker = Tracker()
    for _ in range(2):
        step(tracker, found((50, 50, 0.9, 0)), 0.5)
    assert [step(tracker, Detections.empty(), 0.5).ended for _ in range(4)] == [(), (), (), (1,)]


def test_a_pause_of_the_stream_is_so_many_frames() -> None:
    # At 10 frames per second, 30 px a second; then nothing for 0.4 s
    tracker = Tracker()
    times = [i / 10 for i in range(10)] + [1.3, 1.4]
    for time_s in times:
        tracked = tracker.update(found((50 + 30 * time_s, 50, 0.9, 0)), time_s)
    assert tracked.track_id.tolist() == [1]


def test_a_track_ends_in_a_pause_that_is_longer_than_its_memory() -> None:
    tracker = Tracker(TrackerSettings(min_age_frames=0))
    for i in range(10):
        tracker.update(found((50, 50, 0.9, 0)), i / 10)
    assert tracker.update(Detections.empty(), 3.0).ended == (1,)


def test_frames_with_one_time_do_no_harm() -> None:
    tracker = Tracker()
    for time_s in (0.0, 0.0, 0.04, 0.04, 0.0401, 0.08, 0.12):
        tracked = tracker.update(found((50 + 100 * time_s, 50, 0.9, 0)), time_s)
    assert tracked.track_id.tolist() == [1]


@pytest.mark.parametrize("by_class", [True, False])
def test_the_same_frames_give_the_same_ids(by_class: bool) -> None:
    rng = np.random.default_rng(3)

    def street() -> list[Detections]:
        places: Any = rng.uniform(0, 400, (8, 2))
        return [
            found(*[(x + 3 * t, y, s, c) for (x, y), s, c in zip(places, scores, classes, strict=True)])
            for t in range(15)
        ]

    scores, classes = rng.uniform(0.2, 1, 8).tolist(), rng.integers(0, 4, 8).tolist()
    frames = street()
    settings = replace(LIGHTS, by_class=by_class)
    assert ids(Tracker(settings), *frames) == ids(Tracker(settings), *frames)
