"""Changes of state that the truth lacks, on lights whose reports are known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.safety.flicker import count_changes, frame_by_frame, score_flicker
from benchmarks.tracking.known_tracks import Clip, TrueFrame
from benchmarks.tracking.state_changes import LightInFrame
from edgestill.detections import Detections

NAMES = ("red", "yellow", "green")
STATES = {"r": "red", "y": "yellow", "g": "green", "-": None}
BOX = np.array([[10, 10, 20, 30]], np.float32)


def light(true: str, told: str) -> list[LightInFrame]:
    return [
        LightInFrame(i / 5, str(STATES[t]), STATES[r])
        for i, (t, r) in enumerate(zip(true, told, strict=True))
    ]


@pytest.mark.parametrize(
    ("true", "told", "changes", "false"),
    [
        pytest.param("rrrr", "rrrr", 0, 0, id="steady"),
        pytest.param("rrrr", "--r-", 0, 0, id="seen once"),
        pytest.param("rrrr", "rgrr", 2, 2, id="wrong for a moment"),
        pytest.param("rrrr", "r-gr", 2, 2, id="wrong after a gap"),
        pytest.param("rrrr", "grrr", 1, 1, id="first report wrong"),
        pytest.param("rrgg", "rrgg", 1, 0, id="a real change"),
        pytest.param("rrgg", "rrrg", 1, 0, id="a late report"),
        pytest.param("rrgg", "rr--", 0, 0, id="not seen after the change"),
        pytest.param("rrgg", "rggg", 1, 1, id="a report before the change"),
        pytest.param("rrgg", "rrgr", 2, 1, id="back again"),
        pytest.param("rrgggg", "rrgrgg", 3, 2, id="a real change, then flicker"),
        pytest.param("rryygg", "rr--gg", 1, 0, id="a state that was not seen"),
        pytest.param("rggrr", "r--rr", 0, 0, id="changed and back unseen"),
        pytest.param("----"[:0], "", 0, 0, id="no frame"),
    ],
)
def test_changes_and_those_that_the_truth_lacks(true: str, told: str, changes: int, false: int) -> None:
    assert count_changes(light(true, told)) == (changes, false)


def clip(states: str) -> Clip:
    frames = [
        TrueFrame(
            index=i,
            time_s=i / 5,
            xyxy=BOX,
            state=np.array([NAMES.index(str(STATES[s]))]),
            identity=np.array([1]),
        )
        for i, s in enumerate(states)
    ]
    return Clip(name="a.mp4", fps=5.0, names=NAMES, size_wh=(100, 50), frames=tuple(frames))


def detections(states: str) -> list[Detections]:
    none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    return [
        none
        if s == "-"
        else Detections(BOX, np.array([0.8], np.float32), np.array([NAMES.index(str(STATES[s]))]))
        for s in states
    ]


def test_seconds_of_red_shown_as_green_and_changes_a_minute() -> None:
    truth = clip("r" * 10 + "g" * 10)
    reported = detections("rrggrrrrr-" + "gggggggrgg")
    played = frame_by_frame([f.time_s for f in truth.frames], reported, NAMES)
    found = score_flicker(truth, played, {name: name for name in NAMES}).to_json()
    assert found == {
        "light_minutes": round(20 / 5 / 60, 3),
        "changes": 5,
        "false_changes": 4,
        "false_changes_per_minute": 60.0,
        "right_s": 3.2,
        "wrong_s": 0.6,
        "red_as_green_s": 0.4,
        "green_as_red_s": 0.2,
    }


def test_a_clip_without_lights_has_no_rate() -> None:
    frame = TrueFrame(
        index=0,
        time_s=0.0,
        xyxy=np.zeros((0, 4), np.float32),
        state=np.zeros(0, np.int64),
        identity=np.zeros(0, np.int64),
    )
    empty = Clip(name="a.mp4", fps=5.0, names=NAMES, size_wh=(100, 50), frames=(frame,))
    played = frame_by_frame([0.0], detections("r"), NAMES)
    assert score_flicker(empty, played, {}).to_json()["false_changes_per_minute"] is None
