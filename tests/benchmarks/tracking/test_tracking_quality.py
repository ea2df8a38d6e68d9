"""Scores of tracking, on clips whose result is known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tracking.false_lights import JudgedBoxes, read_judged, score_confirmed
from benchmarks.tracking.identities import score_identities
from benchmarks.tracking.known_tracks import Clip, TrueFrame, read_clip
from benchmarks.tracking.played_clip import PlayedFrame, play, times_of
from benchmarks.tracking.simulated_detections import Faults, simulate
from benchmarks.tracking.state_changes import score_changes
from edgestill.cli import tracking_scores
from edgestill.demo.lights import LightStates
from edgestill.errors import DataError
from runtime.tracking import NO_TRACK, Tracker, TrackerSettings

HERE = Path(__file__).parent
REAL = HERE / "driveai_720p_120f.gt.json"
JUDGED = HERE / "judged_lights.json"
NAMES = ("red", "yellow", "green")
PERFECT = Faults(missed=0, centre=0, side=0, pixels=0, wrong_state=0, false_alarms=0, score=0.9)


def two_lights(states: str = "rrrrrrrrrr", fps: float = 5.0) -> Clip:
    """Two lights that move to the right; the first has the states, the second is always red."""
    letters = {name[0]: i for i, name in enumerate(NAMES)}
    frames = [
        TrueFrame(
            index=i,
            time_s=i / fps,
            xyxy=np.array([[10 + 5 * i, 10, 20 + 5 * i, 34], [80 + 5 * i, 10, 90 + 5 * i, 34]], np.float32),
            state=np.array([letters[letter], 0]),
            identity=np.array([4, 9]),
        )
        for i, letter in enumerate(states)
    ]
    return Clip(name="a.mp4", fps=fps, names=NAMES, size_wh=(200, 100), frames=tuple(frames))


def played(clip: Clip, ids: list[list[int]], told: list[list[str]] | None = None) -> list[PlayedFrame]:
    """Boxes as in truth with these ids and states."""
    told = told or [["red", "red"]] * len(ids)
    return [
        PlayedFrame(time_s=f.time_s, xyxy=f.xyxy, track_id=np.array(i, np.int64), states=tuple(s))
        for f, i, s in zip(clip.frames, ids, told, strict=True)
    ]


# --- truth at other rates


def test_a_higher_rate_interpolates_the_boxes() -> None:
    clip = two_lights().at_rate(10)
    assert len(clip.frames) == 19
    assert clip.frames[1].xyxy[0].tolist() == [12.5, 10, 22.5, 34]
    assert [f.time_s for f in clip.frames[:3]] == pytest.approx([0, 0.1, 0.2])


def test_a_lower_rate_keeps_the_times_of_its_frames() -> None:
    clip = two_lights().at_rate(2)
    assert [f.index for f in clip.frames] == [0, 2, 5, 7]
    assert [f.time_s for f in clip.frames] == pytest.approx([0, 0.4, 1.0, 1.4])


def test_a_light_that_leaves_is_not_interpolated() -> None:
    clip = two_lights("rr")
    last = clip.frames[1]
    alone = replace(last, xyxy=last.xyxy[:1], state=last.state[:1], identity=last.identity[:1])
    between = replace(clip, frames=(clip.frames[0], alone)).at_rate(10).frames[1]
    assert between.identity.tolist() == [4]


def test_a_file_without_ids_is_refused(tmp_path: Path) -> None:
    truth = json.loads(REAL.read_text("utf-8"))
    del truth["ids"]["7"]
    (tmp_path / "a.gt.json").write_text(json.dumps(truth), "utf-8")
    with pytest.raises(DataError, match="holds no true tracks") as error:
        read_clip(tmp_path / "a.gt.json")
    assert "edgestill data clip" in error.value.hint


# --- simulated detections


def test_simulated_detections_are_reproducible_and_faulty() -> None:
    clip = read_clip(REAL)
    first, again = simulate(clip, Faults(), 1), simulate(clip, Faults(), 1)
    np.testing.assert_array_equal(first[50].xyxy, again[50].xyxy)
    found, true = sum(map(len, first)), sum(len(f.identity) for f in clip.frames)
    assert 0.8 * true < found < true


def test_without_faults_the_detections_are_the_truth() -> None:
    clip = two_lights()
    np.testing.assert_allclose(np.sort(simulate(clip, PERFECT, 0)[3].xyxy, axis=0), clip.frames[3].xyxy)


# --- identities


@pytest.fixture
def trackeval() -> None:
    pytest.importorskip("trackeval", reason="HOTA and IDF1 are computed by TrackEval")


@pytest.mark.usefixtures("trackeval")
@pytest.mark.parametrize(
    ("ids", "idf1", "without"),
    [
        pytest.param([[1, 2]] * 10, 1.0, 0, id="perfect"),
        pytest.param([[1, 2]] * 5 + [[2, 1]] * 5, 0.5, 0, id="swapped in the middle"),
        pytest.param([[NO_TRACK, 2]] * 10, 2 / 3, 10, id="one without an id"),
        pytest.param([[NO_TRACK, NO_TRACK]] * 10, 0.0, 20, id="none"),
    ],
)
def test_identities_are_scored(ids: list[list[int]], idf1: float, without: int) -> None:
    clip = two_lights()
    scored = score_identities(clip, played(clip, ids))
    assert scored.idf1 == pytest.approx(idf1)
    assert scored.without_id == without
    assert (scored.hota == pytest.approx(1)) is (idf1 == 1)


@pytest.mark.usefixtures("trackeval")
def test_the_tracker_keeps_the_lights_of_a_real_drive_at_5_frames_per_second() -> None:
    clip = read_clip(REAL)
    tracker = Tracker(TrackerSettings(by_class=False), period_s=0.2)
    scored = score_identities(
        clip, play(times_of(clip), simulate(clip, Faults(), 0), tracker, LightStates(NAMES))
    )
    assert scored.idf1 > 0.7  # 0.59 with the rules of version 0.4
    assert scored.without_id < 0.15 * scored.detections  # 41 % with them


# --- changes of state


def test_a_change_that_is_reported_late_is_right() -> None:
    clip = two_lights("rrrrrggggg")
    told = [["red", "red"]] * 7 + [["green", "red"]] * 3
    changes = score_changes(clip, played(clip, [[1, 2]] * 10, told))
    assert (changes.true, changes.right, changes.false) == (1, 1, 0)
    assert changes.late_s == pytest.approx([0.4])
    assert changes.lights == 2


def test_a_change_that_is_not_reported_is_missed() -> None:
    clip = two_lights("rrrrrggggg")
    changes = score_changes(clip, played(clip, [[1, 2]] * 10))
    assert (changes.true, changes.right, changes.false) == (1, 0, 0)


def test_a_state_that_the_light_does_not_have_is_false() -> None:
    clip = two_lights()
    told = [["red", "red"]] * 4 + [["green", "red"]] * 2 + [["red", "red"]] * 4
    assert score_changes(clip, played(clip, [[1, 2]] * 10, told)).false == 1


def test_the_first_state_is_timed_from_the_first_frame() -> None:
    clip = two_lights()
    told = [["unknown", "unknown"]] * 2 + [["red", "unknown"]] * 8
    changes = score_changes(clip, played(clip, [[1, 2]] * 10, told))
    assert changes.told_s == pytest.approx([0.4])


# --- false lights


def judged(clip: Clip) -> JudgedBoxes:
    """The first object is a light, the second a tail light."""
    rows = [
        (i, i, *box, kind)
        for i, f in enumerate(clip.frames)
        for box, kind in zip(f.xyxy, ("light", "other"), strict=True)
    ]
    return JudgedBoxes(
        frames=np.array([row[:2] for row in rows], np.int64),
        xyxy=np.array([row[2:6] for row in rows], np.float32),
        kinds=tuple(str(row[6]) for row in rows),
        numbers=(1, 0) * len(clip.frames),
    )


def test_a_track_with_a_state_is_what_its_boxes_are_judged_to_be() -> None:
    clip = two_lights()
    told = [["unknown", "unknown"]] * 2 + [["red", "red"]] * 8
    confirmed = score_confirmed(judged(clip), played(clip, [[1, 2]] * 10, told), NAMES)
    assert confirmed.tracks == {"light": 1, "other": 1}
    assert confirmed.detections == {"light": 8, "other": 8}
    assert confirmed.lights == 1
    assert confirmed.minutes == pytest.approx(2 / 60)


def test_a_track_without_a_state_is_no_false_light() -> None:
    clip = two_lights()
    told = [["red", "unknown"]] * 10
    assert score_confirmed(judged(clip), played(clip, [[1, 2]] * 10, told), NAMES).tracks == {"light": 1}


def test_a_box_that_nobody_has_judged_is_said_to_be_so() -> None:
    clip = two_lights()
    nothing = JudgedBoxes(
        frames=np.zeros((0, 2), np.int64), xyxy=np.zeros((0, 4), np.float32), kinds=(), numbers=()
    )
    assert score_confirmed(nothing, played(clip, [[1, 2]] * 10), NAMES).tracks == {"unjudged": 2}


def test_a_box_in_the_box_of_a_light_is_counted_where_both_have_a_state() -> None:
    clip = two_lights()
    frames = [
        replace(frame, xyxy=np.array([[0, 0, 20, 50], [5, 5, 15, 20]], np.float32))
        for frame in played(clip, [[1, 2]] * 10, [["red", "unknown"]] * 4 + [["red", "green"]] * 6)
    ]
    assert score_confirmed(judged(clip), frames, NAMES).nested == 6
    assert score_confirmed(judged(clip), played(clip, [[1, 2]] * 10), NAMES).nested == 0


def test_the_judged_boxes_of_the_real_clips_are_read() -> None:
    clips = read_judged(JUDGED)
    assert len(clips) == 4
    assert {kind for boxes in clips.values() for kind in boxes.kinds} == {"light", "pedestrian", "other"}


def test_a_file_that_holds_no_judged_boxes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"clips": {"a.mp4": [[1, 2]]}}', "utf-8")
    with pytest.raises(DataError, match="holds no judged boxes"):
        read_judged(tmp_path / "a.json")


# --- the command


@pytest.mark.usefixtures("trackeval")
def test_the_command_prints_a_row_for_each_rate(capsys: pytest.CaptureFixture[str]) -> None:
    assert tracking_scores.main(["--truth", str(REAL), "--rate", "5", "--rate", "2"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split(" | ")[1:3] for line in lines[2:]] == [["simulated", "5"], ["simulated", "2"]]
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize("words", [[], ["--judged", str(JUDGED)]])
def test_what_the_command_cannot_do_is_two_lines(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tracking_scores.main(words) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
