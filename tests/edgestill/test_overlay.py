"""The annotated frame."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.demo.lights import UNKNOWN
from edgestill.demo.overlay import FrameOverlay
from edgestill.detections import Detections
from edgestill.drawing.palette import image_colours
from runtime.frames import Frame
from runtime.pipeline import FrameResult

LIGHTS = ("red", "yellow", "green", "off")
GROUND = 120
STATE_COLOURS = dict(zip(LIGHTS, image_colours(LIGHTS), strict=True))


def result(
    *boxes: tuple[float, float, float, float],
    hw: tuple[int, int] = (360, 640),
    class_id: int = 0,
    **changes: Any,
) -> FrameResult:
    frame = Frame(
        image_bgr=np.full((*hw, 3), GROUND, np.uint8), index=0, captured_s=0.0, name="x", decode_ms=1.0
    )
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(boxes), 0.8, np.float32),
        np.full(len(boxes), class_id),
    )
    facts: dict[str, Any] = {
        "frame": frame,
        "detections": found,
        "track_id": None,
        "states": None,
        "age_ms": 20.0,
        "rate_fps": 30.0,
        "stages_ms": {"inference": 9.0},
        "is_live": False,
    }
    return FrameResult(**{**facts, **changes})


def draw(drawn: FrameResult, *, strip: bool = True) -> NDArray[np.uint8]:
    return FrameOverlay(LIGHTS, "student  ort", strip=strip)(drawn)


def strip_of(drawn: FrameResult) -> NDArray[np.uint8]:
    return draw(drawn)[drawn.frame.image_bgr.shape[0] :]


def holds(part: NDArray[np.uint8], colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(part.astype(int) - np.array(colour)).max(axis=2) < 12).any())


def test_the_frame_itself_stays_as_it_is() -> None:
    shown = result((100, 150, 110, 170))
    draw(shown)
    assert (shown.frame.image_bgr == GROUND).all()


def test_the_strip_lies_below_the_frame_and_covers_nothing_of_it() -> None:
    picture = draw(result())
    assert (picture[:360] == GROUND).all()
    assert (picture[360:] != GROUND).any()


def test_without_the_strip_the_picture_has_the_frames_size() -> None:
    picture = draw(result((100, 150, 110, 170), states=("red",)), strip=False)
    assert picture.shape == (360, 640, 3)
    assert (picture != GROUND).any()


@pytest.mark.parametrize("hw", [(359, 640), (360, 640), (180, 320), (721, 1281), (1920, 1080)])
def test_the_height_with_the_strip_is_even(hw: tuple[int, int]) -> None:
    assert draw(result(hw=hw)).shape[0] % 2 == 0


@pytest.mark.parametrize("hw", [(180, 320), (720, 1280)])
def test_all_pictures_of_a_run_have_one_size(hw: tuple[int, int]) -> None:
    overlay = FrameOverlay(LIGHTS, "student  ort")
    boxes = [(10.0 * i, 10.0, 10.0 * i + 6, 20.0) for i in range(12)]
    first = result(hw=hw, states=(), track_id=np.array([]), rate_fps=None)
    second = result(
        *boxes, hw=hw, states=("red", "green", "yellow") * 4, track_id=np.arange(12), rate_fps=123.4
    )
    assert overlay(first).shape == overlay(second).shape


def test_a_narrow_frame_has_all_of_the_strip_in_more_lines() -> None:
    shown = result((30, 20, 34, 28), hw=(180, 320), states=("red",), track_id=np.array([1]), is_live=True)
    assert len(strip_of(shown)) > len(strip_of(result(hw=(180, 1600))))
    assert holds(strip_of(shown), STATE_COLOURS["red"])


def test_the_sign_of_an_unconfirmed_state_is_explained_where_there_are_states(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def texts(shown: FrameResult) -> list[str]:
        drawn: list[str] = []
        monkeypatch.setattr(
            "edgestill.demo.status_strip.cv2.putText", lambda _, text, *__: drawn.append(text)
        )
        draw(shown)
        return drawn

    box = (300, 200, 340, 280)
    tracked = texts(result(box, states=(UNKNOWN,), track_id=np.array([1])))
    assert "red? = not confirmed yet" in tracked
    assert "#1 red? 0.80" in tracked
    assert not any("?" in text for text in texts(result(box)))


def test_the_object_itself_is_not_painted_over() -> None:
    assert (draw(result((100, 150, 108, 166)))[150:166, 100:108] == GROUND).all()


@pytest.mark.parametrize(("class_id", "name"), list(enumerate(LIGHTS)))
def test_a_box_has_the_colour_of_its_class(class_id: int, name: str) -> None:
    picture = draw(result((300, 200, 340, 280), class_id=class_id))
    assert holds(picture[190:290, 290:350], STATE_COLOURS[name])


def test_a_confirmed_state_outranks_the_class_of_the_moment() -> None:
    picture = draw(result((300, 200, 340, 280), class_id=2, states=("red",), track_id=np.array([1])))
    assert holds(picture[190:290, 290:350], STATE_COLOURS["red"])
    assert not holds(picture[190:290, 290:350], STATE_COLOURS["green"])


def test_a_confirmed_state_is_counted_in_the_strip() -> None:
    shown = result((300, 200, 340, 280), states=("red",), track_id=np.array([1]))
    assert holds(strip_of(shown), STATE_COLOURS["red"])


def test_a_doubtful_state_is_not_counted_in_the_strip() -> None:
    shown = result((300, 200, 340, 280), states=(UNKNOWN,), track_id=np.array([-1]))
    assert not holds(strip_of(shown), STATE_COLOURS["red"])


def test_the_labels_of_two_neighbours_lie_apart() -> None:
    alone = draw(result((300, 200, 310, 220)))
    other = draw(result((314, 200, 324, 220)))
    both = draw(result((300, 200, 310, 220), (314, 200, 324, 220)))

    def painted(picture: NDArray[np.uint8]) -> int:
        return int((picture[:360] != GROUND).any(axis=2).sum())

    # what the boxes share is little; labels on top of each other would share a whole plate
    assert painted(both) > 0.9 * (painted(alone) + painted(other))


@pytest.mark.parametrize(
    "box",
    [(0, 0, 6, 12), (634, 0, 640, 12), (0, 348, 6, 360), (634, 348, 640, 360), (-5, -5, 700, 400)],
)
def test_a_box_at_the_border_is_drawn(box: tuple[float, float, float, float]) -> None:
    assert (draw(result(box), strip=False) != GROUND).any()


@pytest.mark.parametrize("hw", [(16, 16), (90, 160), (240, 1600), (720, 1280), (1600, 240), (2160, 3840)])
def test_every_size_of_frame_can_be_drawn(hw: tuple[int, int]) -> None:
    height, width = hw
    box = (width * 0.4, height * 0.4, width * 0.5, height * 0.7)
    picture = draw(result(box, hw=hw, is_live=True))
    assert picture.shape[0] > height
    assert picture.shape[1:] == (width, 3)


def test_lines_grow_with_the_frame() -> None:
    def thickness(scale: int) -> int:
        hw = (360 * scale, 640 * scale)
        x0, y0, x1, y1 = (v * scale for v in (300, 200, 340, 280))
        row = draw(result((x0, y0, x1, y1), hw=hw))[240 * scale, : 320 * scale]
        return int((row != GROUND).any(axis=1).sum())

    assert thickness(6) > thickness(3) > thickness(1)


def test_any_model_is_drawn_each_class_in_a_colour_of_its_own() -> None:
    overlay = FrameOverlay([f"class {i}" for i in range(80)], "yolov5n")
    first = overlay(result((300, 200, 340, 280), class_id=0))
    second = overlay(result((300, 200, 340, 280), class_id=1))
    assert (first[190:290, 290:350] != second[190:290, 290:350]).any()
