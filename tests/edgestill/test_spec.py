"""The model's contract survives every file that it travels in."""

import json
from dataclasses import replace
from typing import Any

import pytest

from edgestill.errors import ArtifactError
from edgestill.spec import SPEC_KEY, ModelSpec

LIGHTS = ModelSpec(name="yolov5n", input_hw=(384, 640), classes=("red", "yellow", "green", "off"))


def test_a_spec_survives_json() -> None:
    assert ModelSpec.from_json(json.loads(json.dumps(LIGHTS.to_json()))) == LIGHTS


def test_a_spec_survives_a_model_file() -> None:
    assert ModelSpec.from_metadata(LIGHTS.to_metadata()) == LIGHTS


def test_the_metadata_are_strings_that_ultralytics_reads() -> None:
    metadata = LIGHTS.to_metadata()
    assert metadata["names"] == "{0: 'red', 1: 'yellow', 2: 'green', 3: 'off'}"
    assert (metadata["stride"], metadata["imgsz"], metadata["task"]) == ("32", "[384, 640]", "detect")


def test_the_cells_of_a_rectangle_are_counted() -> None:
    assert LIGHTS.cells == 3 * (48 * 80 + 24 * 40 + 12 * 20)


def test_a_head_without_anchors_has_one_box_a_cell() -> None:
    spec = replace(LIGHTS, head="dfl", layout="yolov8", anchors_px=())
    assert spec.cells == 48 * 80 + 24 * 40 + 12 * 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "dfl"}, "anchors of 3 levels and layout yolov5"),
        ({"head": "dfl", "anchors_px": ()}, "anchors of 0 levels and layout yolov5"),
        ({"share_levels": True}, "share_levels is for a decoupled head; the spec has a coupled head"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        replace(LIGHTS, **change)


def test_a_resized_spec_differs_in_its_input_alone() -> None:
    assert LIGHTS.resized((640, 640)) == replace(LIGHTS, input_hw=(640, 640))


@pytest.mark.parametrize("input_hw", [(380, 640), (0, 640), (384, -32)])
def test_an_input_off_the_stride_is_refused(input_hw: tuple[int, int]) -> None:
    with pytest.raises(ArtifactError, match="not a multiple"):
        LIGHTS.resized(input_hw)


def test_a_model_without_classes_is_refused() -> None:
    with pytest.raises(ArtifactError, match="has no classes"):
        replace(LIGHTS, classes=())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 3),
        ("input_hw", [384]),
        ("input_hw", [384.0, 640.0]),
        ("input_hw", [384, True]),
        ("input_hw", [10**40, 640]),
        ("classes", "red"),
        ("classes", ["red", None]),
        ("strides", []),
        ("strides", [8, 0]),
        ("anchors_px", [[[1, 2, 3]]]),
        ("anchors_px", [3]),
        ("anchors_px", [[[float("nan"), 1]]]),
        ("head", ["coupled"]),
        ("layout", "yolov9"),
        ("pixels", None),
        ("share_levels", 1),
        ("scale", 0),
        ("scale", float("inf")),
        ("pad_value", -1),
        ("score_map", {"a": 1}),
    ],
)
def test_a_value_of_another_type_or_range_is_named(field: str, value: object) -> None:
    with pytest.raises(ArtifactError, match=f"the model spec has {field} = "):
        ModelSpec.from_json({**LIGHTS.to_json(), field: value})


def test_a_class_name_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(ArtifactError, match="is no text"):
        replace(LIGHTS, classes=("red", "\ud800"))


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, "\x00", '"'])
def test_a_spec_in_a_model_file_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match="is not JSON"):
        ModelSpec.from_metadata({SPEC_KEY: text})


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(ArtifactError, match="unknown fields: colour"):
        ModelSpec.from_json({**LIGHTS.to_json(), "colour": "rgb"})


def test_a_missing_field_is_named() -> None:
    data = LIGHTS.to_json()
    del data["layout"]
    with pytest.raises(ArtifactError, match="missing or unknown fields: layout"):
        ModelSpec.from_json(data)


def test_a_spec_from_before_heads_could_share_levels_is_understood() -> None:
    data = LIGHTS.to_json()
    del data["share_levels"], data["pixels"]
    assert ModelSpec.from_json(data) == LIGHTS
