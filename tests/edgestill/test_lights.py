"""The state of a light, from detections that err."""

from dataclasses import replace

import numpy as np
import pytest

from edgestill.demo.lights import UNKNOWN, LightSettings, LightStates, are_lights
from edgestill.detections import Detections
from runtime.tracking import NO_TRACK, Tracked, Tracker, TrackerSettings

CLASSES = ("red", "yellow", "green", "off")
WITH_UNKNOWN = (*CLASSES, UNKNOWN)  # those of the classifier of crops
FPS = 30


def one(name: str, score: float = 0.6, track_id: int = 1, ended: tuple[int, ...] = ()) -> Tracked:
    found = Detections(
        np.array([[0, 0, 8, 20]], np.float32),
        np.array([score], np.float32),
        np.array([WITH_UNKNOWN.index(name)]),
    )
    return Tracked(found, np.array([track_id]), ended)


def nothing(ended: tuple[int, ...] = ()) -> Tracked:
    return Tracked(Detections.empty(), np.zeros(0, np.int64), ended)


def play(lights: LightStates, names: str, start: int = 0, score: float = 0.6, fps: float = FPS) -> list[str]:
    """The state after each frame of a string such as ``"rrg"``; o is off, u unknown."""
    word = {name[0]: name for name in WITH_UNKNOWN}
    return [lights.update(one(word[letter], score), (start + i) / fps)[0] for i, letter in enumerate(names)]


def known(lights: LightStates, names: str, **more: float) -> list[str]:
    """The states after a second of the first letter."""
    play(lights, names[0] * FPS, start=-FPS)
    return play(lights, names, **more)


@pytest.mark.parametrize(("score", "seconds"), [(0.9, 0.034), (0.6, 0.067), (0.4, 0.2)])
def test_a_light_is_unknown_until_there_is_proof(score: float, seconds: float) -> None:
    states = play(LightStates(CLASSES), "r" * FPS, score=score)
    assert states.index("red") / FPS == pytest.approx(seconds, abs=0.035)


def test_doubtful_detections_confirm_no_light() -> None:
    assert set(play(LightStates(CLASSES), "r" * 10 * FPS, score=0.29)) == {UNKNOWN}


@pytest.mark.parametrize("fps", [5, 15, 30])
def test_a_tail_light_that_is_seen_for_two_frames_is_no_light(fps: int) -> None:
    assert set(play(LightStates(CLASSES), "rr", score=0.38, fps=fps)) == {UNKNOWN}


def test_a_light_keeps_its_state_when_its_score_falls() -> None:
    lights = LightStates(CLASSES)
    play(lights, "rrrrr")
    assert set(play(lights, "r" * FPS, start=5, score=0.26)) == {"red"}


def test_repeated_pictures_prove_no_light_unless_it_is_a_sure_one() -> None:
    told = {}
    for score in (0.6, 0.8):
        lights = LightStates(CLASSES)
        lights.update(one("red", score), 0.0)
        for i in range(1, 5):
            told[score] = lights.update(replace(one("red", score), repeats=True), i / FPS)
    assert told == {0.6: (UNKNOWN,), 0.8: ("red",)}


def test_one_wrong_frame_does_not_change_the_state() -> None:
    assert set(known(LightStates(CLASSES), "rrrrrrgrrr")) == {"red"}


def test_one_wrong_frame_with_a_high_score_does_not_change_the_state() -> None:
    lights = LightStates(CLASSES)
    play(lights, "rrrrrr", score=0.5)
    assert lights.update(one("green", 1.0), 0.2) == ("red",)


def test_a_detector_that_cannot_decide_keeps_the_state() -> None:
    assert set(known(LightStates(CLASSES), "rrrr" + "gr" * 10)) == {"red"}


def test_a_change_to_red_shows_within_three_frames() -> None:
    assert play(LightStates(CLASSES), "gggggggg" + "rrr")[-3:] == ["green", "green", "red"]


def test_a_change_to_green_needs_one_frame_more() -> None:
    assert play(LightStates(CLASSES), "rrrrrrrr" + "gggg")[-4:] == ["red", "red", "red", "green"]


def test_a_flashing_light_keeps_its_colour() -> None:
    half_a_second = FPS // 2
    flashing = ("y" * half_a_second + "o" * half_a_second) * 4
    assert set(known(LightStates(CLASSES), flashing)) == {"yellow"}


def test_a_light_that_stays_dark_is_off_after_a_second() -> None:
    states = play(LightStates(CLASSES), "r" * 10 + "o" * (FPS + 2))
    assert states[10 + FPS - 1] == "red"
    assert states[-1] == "off"


def test_a_light_that_was_never_lit_is_off_at_once() -> None:
    assert play(LightStates(CLASSES), "ooo")[-1] == "off"


def test_a_light_that_comes_back_from_off_shows_its_colour() -> None:
    assert play(LightStates(CLASSES), "oooooo" + "rrr")[-1] == "red"


def test_a_small_red_box_in_a_green_light_is_no_second_state() -> None:
    """The score of the inner box is the lower one, as of a lamp that is reflected or not lit."""
    tracker, lights = Tracker(TrackerSettings(by_class=False), period_s=1 / FPS), LightStates(CLASSES)
    score = np.array([0.7, 0.6], np.float32)
    seen: set[str] = set()
    for number in range(FPS):
        boxes = np.array([[40, 26, 60, 74], [46, 32, 56, 48]], np.float32) + number
        tracked = tracker.update(Detections(boxes, score, np.array([2, 0])), number / FPS)
        seen |= set(lights.update(tracked, number / FPS))
    assert seen == {UNKNOWN, "green"}


def test_a_track_that_ended_is_forgotten() -> None:
    lights = LightStates(CLASSES)
    play(lights, "rrr")
    lights.update(nothing(ended=(1,)), 0.2)
    assert lights.update(one("green"), 0.3) == (UNKNOWN,)


def test_a_track_that_is_only_hidden_is_remembered() -> None:
    lights = LightStates(CLASSES)
    play(lights, "rrr")
    lights.update(nothing(), 0.2)
    assert lights.update(one("red"), 0.3) == ("red",)


def test_two_lights_do_not_mix() -> None:
    lights = LightStates(CLASSES)
    for i in range(4):
        assert lights.update(one("green", track_id=2), i / FPS)[0] in {UNKNOWN, "green"}
        state = lights.update(one("red", track_id=1), i / FPS)
    assert state == ("red",)


def test_a_detection_without_a_track_is_unknown() -> None:
    lights = LightStates(CLASSES)
    for i in range(5):
        assert lights.update(one("red", track_id=NO_TRACK), i / FPS) == (UNKNOWN,)


def test_patience_is_a_setting() -> None:
    lights = LightStates(CLASSES, LightSettings(hold_s=4 / FPS))
    assert play(lights, "rrrrr") == [UNKNOWN] * 4 + ["red"]


@pytest.mark.parametrize("fps", [30, 60, 90, 120])
@pytest.mark.parametrize(("old", "new", "seconds"), [("green", "red", 0.1), ("red", "green", 0.134)])
def test_a_change_takes_the_same_time_at_every_rate(fps: int, old: str, new: str, seconds: float) -> None:
    states = play(LightStates(CLASSES), old[0] * fps + new[0] * fps, fps=fps)
    assert states.index(new) / fps - 1 == pytest.approx(seconds - 1 / 30, abs=1 / 30)


@pytest.mark.parametrize("fps", [2, 5])
@pytest.mark.parametrize(("old", "new"), [("green", "red"), ("red", "green")])
def test_a_change_takes_two_frames_at_a_low_rate(fps: int, old: str, new: str) -> None:
    states = play(LightStates(CLASSES), old[0] * 8 + new[0] * 5, fps=fps)
    assert states.index(new) == 8 + 1


@pytest.mark.parametrize("fps", [2, 5, 15])
def test_one_wrong_frame_changes_nothing_at_a_low_rate(fps: int) -> None:
    assert set(play(LightStates(CLASSES), "rrrrrrgrrrgrr", fps=fps)[1:]) == {"red"}


def test_what_was_seen_before_a_pause_does_not_hold_up_a_change() -> None:
    lights = LightStates(CLASSES)
    play(lights, "r" * 30)
    assert play(lights, "ggg", start=90)[-1] == "green"  # two seconds later


def test_a_light_that_is_dark_after_a_pause_is_off_a_second_later() -> None:
    lights = LightStates(CLASSES)
    play(lights, "r" * 10)
    after = [lights.update(one("off"), time_s)[0] for time_s in (5.0, 5.5, 5.9, 6.0)]
    assert after == ["red", "red", "red", "off"]


@pytest.mark.parametrize(
    ("classes", "answer"), [(CLASSES, True), (("green", "red"), True), (("person", "traffic light"), False)]
)
def test_a_model_of_lights_is_told_by_its_classes(classes: tuple[str, ...], answer: bool) -> None:
    assert are_lights(classes) is answer


# --- a classifier that cannot tell the state in some frames


def test_frames_that_tell_no_state_keep_it() -> None:
    lights = LightStates(WITH_UNKNOWN)
    play(lights, "rrrr")
    assert set(play(lights, "u" * 30, start=4)) == {"red"}
    assert play(lights, "rurur", start=34)[-1] == "red"


def test_a_state_that_is_not_seen_for_two_seconds_is_unknown() -> None:
    lights = LightStates(WITH_UNKNOWN)
    play(lights, "rrrr")
    assert play(lights, "u" * 80, start=4)[-1] == "unknown"


def test_unknown_frames_do_not_confirm_a_state() -> None:
    assert set(play(LightStates(WITH_UNKNOWN), "uuuuuu")) == {"unknown"}
