"""Identities over frames."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgestill.detections import Detections
from runtime.tracking import NO_TRACK, Tracked, Tracker, TrackerSettings

LIGHTS = TrackerSettings(by_class=False)
NOTHING = (Detections.empty(),)


def found(*rows: tuple[float, float, float, int], size: tuple[float, float] = (10, 24)) -> Detections:
    """Boxes of one size at (centre x, centre y) with a score and a class."""
    width, height = size
    xyxy = [(x - width / 2, y - height / 2, x + width / 2, y + height / 2) for x, y, _, _ in rows]
    return Detections(
        np.array(xyxy, np.float32).reshape(-1, 4),
        np.array([row[2] for row in rows], np.float32),
        np.array([row[3] for row in rows], np.int64),
    )


def together(*parts: Detections) -> Detections:
    """The detections of several calls of ``found`` in one frame."""
    return Detections(
        np.concatenate([part.xyxy for part in parts]),
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.class_id for part in parts]),
    )


def ids(tracker: Tracker, *frames: Detections) -> list[list[int]]:
    return [step(tracker, frame).track_id.tolist() for frame in frames]


def step(tracker: Tracker, frame: Detections, period_s: float = 1 / 25) -> Tracked:
    """The next frame, so many seconds after the one before."""
    last_s = tracker._last_s
    time_s = 0.0 if last_s is None else last_s + period_s
    return tracker.update(trembling(frame, round(time_s / period_s)), time_s)


def trembling(frame: Detections, number: int) -> Detections:
    """The detections, every other time displaced by as much as tells a new picture from a repeated one."""
    return replace(frame, xyxy=frame.xyxy + np.float32(0.6 * (number % 2)))


def test_an_object_gets_its_id_with_the_second_detection() -> None:
    assert ids(Tracker(), *[found((50, 50, 0.9, 0))] * 3) == [[NO_TRACK], [1], [1]]


def test_an_object_that_moves_keeps_its_id() -> None:
    frames = [found((50 + 4 * i, 50 - 2 * i, 0.9, 0)) for i in range(20)]
    assert ids(Tracker(), *frames)[1:] == [[1]] * 19


def test_a_reset_ends_all_tracks_and_ids_go_on() -> None:
    tracker = Tracker()
    ids(tracker, *[found((50 + i, 50, 0.9, 0), (90 + i, 50, 0.9, 0)) for i in range(2)])
    tracker.reset()
    after = [tracker.update(found((50 + i, 50, 0.9, 0)), 100.0 + i / 25) for i in range(3)]
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
    tracker = Tracker(TrackerSettings(max_age_s=1 / 25))
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


@pytest.mark.parametrize(("inner_class", "inner_score"), [(0, 0.6), (2, 0.6), (0, 0.9)])
def test_a_box_within_the_box_of_a_light_is_no_second_light(inner_class: int, inner_score: float) -> None:
    """Their IoU is 0.17: the detector's NMS keeps both, whether or not they are of one class."""
    head = found((50, 50, 0.7, 2), size=(20, 48))
    lamp = found((51, 40, inner_score, inner_class), size=(10, 16))
    tracked = step(Tracker(LIGHTS), together(head, lamp))
    assert tracked.detections.score.tolist() == [np.float32(max(0.7, inner_score))]
    assert len(step(Tracker(), together(head, lamp)).detections) == 2


def test_a_box_around_two_lights_is_no_third_one() -> None:
    twins = found((40, 50, 0.8, 0), (56, 50, 0.7, 2), size=(14, 30))
    tracked = step(Tracker(LIGHTS), together(twins, found((48, 50, 0.4, 0), size=(34, 34))))
    assert tracked.detections.class_id.tolist() == [0, 2]


@pytest.mark.parametrize(
    "neighbour",
    [
        pytest.param(found((61, 50, 0.6, 0), size=(20, 48)), id="45 % of two equal heads"),
        pytest.param(found((63, 50, 0.6, 0), size=(10, 24)), id="a far light, a fifth behind a near one"),
        pytest.param(found((50, 73, 0.6, 0), size=(12, 12)), id="58 %, an arrow hung below"),
    ],
)
def test_neighbours_that_overlap_stay_two_lights(neighbour: Detections) -> None:
    both = together(found((50, 50, 0.7, 2), size=(20, 48)), neighbour)
    assert len(step(Tracker(LIGHTS), both).detections) == 2


def test_a_leap_needs_a_box_of_like_size() -> None:
    tracker = Tracker(LIGHTS)
    ids(tracker, *[found((50, 50, 0.9, 0))] * 2)
    assert step(tracker, found((68, 50, 0.9, 0), size=(18, 44))).track_id.tolist() == [NO_TRACK]


def test_a_box_without_area_does_no_harm() -> None:
    tracker = Tracker(LIGHTS)
    assert ids(tracker, *[found((50, 50, 0.9, 0), size=(0, 0))] * 2)[0] == [NO_TRACK]


def test_nothing_comes_of_nothing() -> None:
    assert ids(Tracker(), Detections.empty()) == [[]]


@pytest.mark.parametrize("rate", [2, 5, 10, 30, 60])
def test_objects_that_move_keep_their_ids_at_every_rate(rate: int) -> None:
    tracker = Tracker(LIGHTS, period_s=1 / rate)
    rng = np.random.default_rng(7)
    owners: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for i in range(4 * rate):
        time_s = i / rate
        places = [(50 + 60 * time_s, 50.0), (90 + 60 * time_s, 52.0), (200 + 60 * time_s, 90.0)]
        seen = [k for k in range(3) if i == 0 or rng.uniform() < 0.8]
        tracked = tracker.update(found(*[(*places[k], 0.9 - 0.1 * k, 0) for k in seen]), time_s)
        for k, track_id in zip(seen, tracked.track_id.tolist(), strict=True):
            owners[k] |= {track_id} - {NO_TRACK}
    assert sorted(map(len, owners.values())) == [1, 1, 1]


@pytest.mark.parametrize("rate", [10, 25, 60, 120])
def test_a_track_lasts_a_second_at_every_rate(rate: int) -> None:
    tracker = Tracker()
    for _ in range(6):
        step(tracker, found((50, 50, 0.9, 0)), 1 / rate)
    ended = [step(tracker, Detections.empty(), 1 / rate).ended for _ in range(2 * rate)]
    assert ended.index((1,)) + 1 == rate + 1


def test_at_a_low_rate_a_track_lasts_a_second_too() -> None:
    tracker = Tracker()
    for _ in range(2):
        step(tracker, found((50, 50, 0.9, 0)), 0.5)
    assert [step(tracker, Detections.empty(), 0.5).ended for _ in range(4)] == [(), (), (1,), ()]


def test_a_track_survives_one_frame_at_every_rate() -> None:
    tracker = Tracker()
    ended = [step(tracker, frame, 3.0).ended for frame in (*[found((50, 50, 0.9, 0))] * 2, *NOTHING * 2)]
    assert ended == [(), (), (), (1,)]


@pytest.mark.parametrize(("rate", "detections"), [(10, 2), (30, 2), (60, 3), (120, 5)])
def test_a_track_is_confirmed_after_the_same_time_at_every_rate(rate: int, detections: int) -> None:
    tracker = Tracker(period_s=1 / rate)
    got = [step(tracker, found((50, 50, 0.9, 0)), 1 / rate).track_id.tolist() for _ in range(detections)]
    assert got == [[NO_TRACK]] * (detections - 1) + [[1]]


@pytest.mark.parametrize(("score", "first"), [(0.6, 1), (0.4, NO_TRACK)])
def test_at_a_low_rate_a_sure_detection_gets_its_id_at_once(score: float, first: int) -> None:
    tracker = Tracker(period_s=0.2)
    assert step(tracker, found((50, 50, score, 0)), 0.2).track_id.tolist() == [first]


# --- the camera's motion


def test_a_small_light_that_jumps_by_six_times_its_width_keeps_its_id() -> None:
    # Two frames of a real drive at 5 frames per second, when the camera turned
    tracker = Tracker(LIGHTS, period_s=0.2)
    tracker.update(found((662, 215, 0.6, 0), size=(9, 23)), 0.0)
    assert tracker.update(found((576, 211, 0.6, 0), size=(9, 24)), 0.2).track_id.tolist() == [1]


def test_lights_that_jump_together_by_their_distance_keep_their_ids() -> None:
    tracker = Tracker(LIGHTS, period_s=0.2)
    row = [(100, 50, 0.9, 0), (140, 80, 0.8, 0), (180, 50, 0.7, 0)]
    tracker.update(found(*row), 0.0)
    shifted = [(x + 40, y, score, state) for x, y, score, state in row]
    assert tracker.update(found(*shifted), 0.2).track_id.tolist() == [1, 2, 3]


def test_a_light_that_is_missed_while_the_camera_turns_is_found_again() -> None:
    tracker = Tracker(LIGHTS, period_s=0.2)
    row = [(100, 50, 0.9, 0), (140, 80, 0.8, 0), (180, 50, 0.7, 0)]
    tracker.update(found(*row), 0.0)
    turned = [(x + 60, y, score, state) for x, y, score, state in row]
    tracker.update(found(*turned[:2]), 0.2)
    assert tracker.update(found(*turned), 0.4).track_id.tolist() == [1, 2, 3]


def test_a_light_that_stands_still_is_not_taken_for_its_neighbour() -> None:
    tracker = Tracker(LIGHTS)
    ids(tracker, *[found((50, 50, 0.9, 0), (64, 50, 0.8, 0))] * 4)
    assert step(tracker, found((64, 50, 0.8, 0))).track_id.tolist() == [2]


# --- pictures that are repeated


def held(*frames: Detections, times: int = 5) -> list[Detections]:
    return [frame for frame in frames for _ in range(times)]


def play(tracker: Tracker, frames: list[Detections], rate: int = 30) -> list[Tracked]:
    return [tracker.update(frame, i / rate) for i, frame in enumerate(frames)]


def test_a_repeated_picture_is_no_second_detection() -> None:
    tracked = play(Tracker(), held(found((50, 50, 0.9, 0))))
    assert [t.track_id.tolist() for t in tracked] == [[NO_TRACK]] * 5
    assert [t.repeats for t in tracked] == [False, True, True, True, True]


def test_objects_of_repeated_pictures_keep_their_ids() -> None:
    pictures = [found((50 + 40 * i, 50, 0.9, 0), (90 + 40 * i, 80, 0.6, 0)) for i in range(6)]
    tracked = play(Tracker(LIGHTS), held(*pictures))
    assert {tuple(t.track_id.tolist()) for t in tracked[5:]} == {(1, 2)}


def test_the_noise_of_compression_is_no_new_picture() -> None:
    tracker = Tracker()
    tracker.update(found((50, 50, 0.9, 0), (90, 50, 0.3, 0)), 0.0)
    again = tracker.update(found((50.2, 50, 0.905, 0)), 1 / 30)
    assert (again.repeats, again.track_id.tolist()) == (True, [NO_TRACK])


def test_a_picture_that_does_not_change_for_long_is_taken_for_a_scene() -> None:
    tracked = play(Tracker(), held(found((50, 50, 0.9, 0)), times=12))
    assert tracked[-1].track_id.tolist() == [1]


def test_a_light_that_switches_makes_a_new_picture() -> None:
    tracked = play(Tracker(LIGHTS), [found((50, 50, 0.9, 0)), found((50, 50, 0.9, 2))])
    assert not tracked[-1].repeats


# --- times


def test_a_pause_of_the_stream_is_so_many_frames() -> None:
    # At 10 frames per second, 30 px a second; then nothing for 0.4 s
    tracker = Tracker()
    times = [i / 10 for i in range(10)] + [1.3, 1.4]
    for time_s in times:
        tracked = tracker.update(found((50 + 30 * time_s, 50, 0.9, 0)), time_s)
    assert tracked.track_id.tolist() == [1]


def test_a_track_ends_in_a_pause_that_is_longer_than_its_memory() -> None:
    tracker = Tracker(TrackerSettings())
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
