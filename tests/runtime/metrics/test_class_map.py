"""Models with other classes than the data set: what is scored against what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgestill.detections import Detections
from edgestill.errors import UsageError
from runtime.metrics.class_map import proposal, read_class_map, single_class
from runtime.metrics.coco import Truth

COCO = ("person", "car", "truck", "traffic light")
LIGHTS = ("red", "yellow", "green", "off")


def mapped(texts: list[str], model: Any = COCO, data: Any = LIGHTS) -> dict[str, tuple[list[str], list[str]]]:
    found = read_class_map(texts, model, data).to_json(model, data)
    return {name: (sides["model"], sides["data"]) for name, sides in found.items()}


def test_one_class_of_the_model_for_all_of_the_data() -> None:
    assert mapped(["traffic light=*"]) == {"traffic light": (["traffic light"], list(LIGHTS))}


@pytest.mark.parametrize(
    "text", ["traffic light=red,green", '"traffic light" = "red", "green"', "Traffic Light=RED,Green"]
)
def test_some_classes_of_the_data(text: str) -> None:
    assert mapped([text]) == {"traffic light": (["traffic light"], ["red", "green"])}


def test_several_classes_of_the_model_for_one_of_the_data() -> None:
    data = ("vehicle", "person")
    assert mapped(["car=vehicle", "truck=vehicle", "person=person"], data=data) == {
        "vehicle": (["car", "truck"], ["vehicle"]),
        "person": (["person"], ["person"]),
    }


def test_the_star_is_what_no_entry_names() -> None:
    data = ("person", "vehicle", "bike")
    assert mapped(["person=person", "*=vehicle"], data=data) == {
        "person": (["person"], ["person"]),
        "vehicle": (["car", "truck", "traffic light"], ["vehicle"]),
    }
    assert mapped(["person=person", "car=*"], data=data)["car"] == (["car"], ["vehicle", "bike"])


def test_entries_that_share_a_class_are_one() -> None:
    assert mapped(["car=red,green", "truck=green,off", "person=yellow"]) == {
        "car+truck": (["car", "truck"], ["red", "green", "off"]),
        "yellow": (["person"], ["yellow"]),
    }


def test_equal_names_of_two_groups_are_told_apart() -> None:
    found = mapped(["red=a,b", "x=red"], model=("red", "x"), data=("a", "b", "red"))
    assert len(found) == 2


def test_signs_in_names_are_no_separators() -> None:
    assert mapped(["a=b=c, d"], model=("a=b", "a"), data=("c, d", "d")) == {"c, d": (["a=b"], ["c, d"])}


def test_a_toml_file_holds_the_same(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text('[classes]\n"traffic light" = ["red", "green"]\ncar = "off"\n', "utf-8")
    assert mapped([str(path)]) == mapped(["traffic light=red,green", "car=off"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("light=red", "no class 'light'"),
        ("car=purple", "no class 'purple'"),
        ("car", "is not MODEL CLASS=DATA CLASS"),
        ("car=", "maps nothing"),
        ("gone.toml", "is not a readable TOML file"),
    ],
)
def test_what_is_no_map_is_a_usage_error(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        mapped([text])


@pytest.mark.parametrize(
    "text",
    [
        *("x = 1", "[classes]", "[classes]\ncar = 3", "[classes]\ncar = []", "[classes]\ncar='red'\n[more]"),
        pytest.param("x = " + "[" * 60_000, id="deep"),
        pytest.param("x = " + "9" * 5000, id="digits"),
    ],
)
def test_another_toml_file_is_a_usage_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(UsageError):
        mapped([str(tmp_path / "map.toml")])


def found(*rows: tuple[float, float, int]) -> Detections:
    """Boxes of 10 x 10 pixels at x, with a score and a class."""
    xyxy = np.array([[x, 0, x + 10, 10] for x, _, _ in rows], np.float32).reshape(-1, 4)
    return Detections(
        xyxy, np.array([s for _, s, _ in rows], np.float32), np.array([k for *_, k in rows], np.int64)
    )


def test_detections_of_merged_classes_are_one_object() -> None:
    both = read_class_map(["car=vehicle", "truck=vehicle", "person=person"], COCO, ("vehicle", "person"))
    kept = both.detections(found((0, 0.9, 1), (1, 0.8, 2), (50, 0.7, 2), (1, 0.6, 0), (1, 0.5, 3)), iou=0.6)
    assert kept.class_id.tolist() == [0, 0, 1]
    assert kept.score.tolist() == pytest.approx([0.9, 0.7, 0.6])


def test_classes_that_stay_single_are_not_suppressed_again() -> None:
    one = read_class_map(["car=*"], COCO, LIGHTS)
    assert len(one.detections(found((0, 0.9, 1), (1, 0.8, 1)), iou=0.6)) == 2


def test_single_class_takes_every_label_and_each_box_once() -> None:
    everything = single_class(COCO, LIGHTS)
    assert everything.detections(found((0, 0.9, 1), (0, 0.8, 3)), iou=0.6).class_id.tolist() == [0]
    truth = Truth(np.zeros((3, 4), np.float32), np.array([0, 3, 1]))
    assert everything.truth(truth).class_id.tolist() == [0, 0, 0]


def test_what_is_left_out_is_said() -> None:
    some = read_class_map(["traffic light=red,green"], COCO, LIGHTS)
    truth = Truth(np.zeros((4, 4), np.float32), np.array([0, 3, 3, 2]))
    assert some.truth(truth).class_id.tolist() == [0, 0]
    labels, classes = some.left_out([truth], COCO, LIGHTS)
    assert "off 2" in labels
    assert "yellow" not in labels
    assert "person, car, truck" in classes


def test_a_model_without_detections_is_mapped() -> None:
    assert len(single_class(COCO, LIGHTS).detections(Detections.empty(), iou=0.6)) == 0


def test_the_proposal_is_a_map_that_works() -> None:
    hint = proposal(COCO, LIGHTS)
    assert "--class-map 'person=*'" in hint
    assert "--class-map 'Red=red' --class-map 'Off=off'" in proposal(("Off", "Red", "x")[::-1], LIGHTS)
