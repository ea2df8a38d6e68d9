"""The lights that are there, and their changes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edgestill.demo.web.light_board import KEPT_S, SHOWN_S, LightBoard, boxes_json
from runtime.tracking import NO_TRACK

CLASSES = ("red", "yellow", "green", "off")
RED, GREEN = 0, 2


def test_a_light_has_its_state_and_since_when(make_result: Callable[..., Any]) -> None:
    board = LightBoard(CLASSES)
    for second, state in enumerate(("unknown", "red", "red", "green")):
        board.update(make_result(0, (RED, 0.8), track_id=np.array([7]), states=(state,)), float(second))
    assert board.objects() == [
        {"id": 7, "state": "green", "detected": "green", "sure": True, "score": 0.8, "since_s": 3.0}
    ]
    assert board.changes() == [
        {"id": 7, "from": "unknown", "to": "red", "at_s": 1.0},
        {"id": 7, "from": "red", "to": "green", "at_s": 3.0},
    ]


def test_a_light_without_a_confirmed_state_is_what_was_detected(make_result: Callable[..., Any]) -> None:
    board = LightBoard(CLASSES)
    for class_id in (RED, GREEN):
        board.update(make_result(0, (class_id, 0.8), track_id=np.array([7]), states=("unknown",)), 0.0)
    (light,) = board.objects()
    assert (light["state"], light["detected"], light["sure"]) == ("unknown", "green", False)


def test_a_detection_without_a_track_is_no_light_yet(make_result: Callable[..., Any]) -> None:
    board = LightBoard(CLASSES)
    board.update(make_result(0, (RED, 0.8), track_id=np.array([NO_TRACK]), states=("unknown",)), 0.0)
    assert board.objects() == []


def test_a_light_that_one_frame_misses_stays_with_its_state(make_result: Callable[..., Any]) -> None:
    board = LightBoard(CLASSES)
    seen = make_result(0, (RED, 0.8), track_id=np.array([7]), states=("red",))
    board.update(seen, 0.0)
    board.update(make_result(1, track_id=np.array([], np.int64), states=()), SHOWN_S)
    assert [light["id"] for light in board.objects()] == [7]
    board.update(make_result(2, track_id=np.array([], np.int64), states=()), SHOWN_S + 0.1)
    assert board.objects() == []
    board.update(seen, KEPT_S)
    assert board.objects()[0]["since_s"] == 0.0


def test_lights_that_are_gone_take_no_memory(make_result: Callable[..., Any]) -> None:
    board = LightBoard(CLASSES)
    for i in range(1000):
        board.update(make_result(i, (RED, 0.8), track_id=np.array([i]), states=("red",)), float(i))
    assert len(board._objects) <= KEPT_S + 1


def test_without_states_the_class_is_shown(make_result: Callable[..., Any]) -> None:
    board = LightBoard(CLASSES)
    board.update(make_result(0, (GREEN, 0.8), track_id=np.array([7])), 0.0)
    assert board.objects()[0]["state"] == "green"


def test_boxes_tell_what_is_confirmed(make_result: Callable[..., Any]) -> None:
    result = make_result(
        0, (RED, 0.9), (GREEN, 0.4), track_id=np.array([7, NO_TRACK]), states=("off", "unknown")
    )
    confirmed, other = boxes_json(result, CLASSES, 10)
    assert confirmed == {"box": [8.0, 10.0, 18.0, 30.0], "name": "off", "score": 0.9, "id": 7, "sure": True}
    assert (other["name"], other["id"], other["sure"]) == ("green", None, False)
    assert len(boxes_json(result, CLASSES, 1)) == 1


def test_without_a_tracker_every_box_is_what_was_detected(make_result: Callable[..., Any]) -> None:
    (box,) = boxes_json(make_result(0, (RED, 0.9)), CLASSES, 10)
    assert (box["name"], box["id"], box["sure"]) == ("red", None, True)
