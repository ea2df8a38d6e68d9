"""Lights of any detector, with states."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.cli.main import main
from edgestill.detections import Detections
from edgestill.errors import UsageError
from edgestill.spec import ModelSpec
from runtime.light_states.classifier import STATES, open_light_states
from runtime.light_states.lights_of_detector import LightStateDetector

COLOURS = {"red": (30, 30, 240), "yellow": (30, 200, 240), "green": (130, 230, 40)}


def street(states: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A grey image with a head of 24 x 60 pixels for each state, and their boxes."""
    image = np.full((120, 60 * len(states), 3), 150, np.uint8)
    boxes = []
    for i, state in enumerate(states):
        left = 18 + 60 * i
        image[30:90, left : left + 24] = 25
        for lamp, (name, colour) in enumerate(COLOURS.items()):
            cv2.circle(image, (left + 12, 40 + 20 * lamp), 8, colour if name == state else (45, 45, 45), -1)
        boxes.append([left, 30, left + 24, 90])
    return image, np.array(boxes, np.float32)


class Finder:
    """A detector that finds given boxes."""

    def __init__(self, boxes: NDArray[np.float32], class_id: list[int], classes: tuple[str, ...]) -> None:
        self.spec = ModelSpec(name="finder", input_hw=(32, 32), classes=classes)
        self._found = Detections(boxes, np.full(len(boxes), 0.7, np.float32), np.array(class_id, np.int64))

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        return self._found

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        return self._found, {"inference": 1.0}

    def timed_batch(self, images_bgr: list[NDArray[np.uint8]]) -> tuple[list[Detections], dict[str, float]]:
        return [self._found] * len(images_bgr), {"inference": 1.0}


def test_the_boxes_of_the_light_class_get_states() -> None:
    image, boxes = street(["red", "green", "yellow", "red"])
    finder = Finder(boxes, [1, 1, 1, 0], ("car", "traffic light"))
    detector = LightStateDetector(finder, open_light_states())
    found, stages_ms = detector.timed(image)
    assert [detector.spec.classes[i] for i in found.class_id] == ["red", "green", "yellow"]
    assert np.array_equal(found.xyxy, boxes[:3])
    assert found.score.tolist() == pytest.approx([0.7] * 3)
    assert set(stages_ms) == {"inference", "states"}


def test_horizontal_heads_are_read_from_the_left() -> None:
    image, boxes = street(["red", "green"])
    turned = np.ascontiguousarray(image.transpose(1, 0, 2))
    finder = Finder(boxes[:, [1, 0, 3, 2]], [0, 0], ("traffic light",))
    found = LightStateDetector(finder, open_light_states())(turned)
    assert [STATES[i] for i in found.class_id] == ["red", "green"]


def test_a_detector_of_states_is_classified_anew() -> None:
    image, boxes = street(["green"])
    found = LightStateDetector(Finder(boxes, [0], ("red", "green")), open_light_states())(image)
    assert [STATES[i] for i in found.class_id] == ["green"]


def test_a_detector_without_lights_is_refused() -> None:
    _, boxes = street(["red"])
    with pytest.raises(UsageError, match="no class 'traffic light'; it has car, dog"):
        LightStateDetector(Finder(boxes, [0], ("car", "dog")), open_light_states())


@pytest.mark.parametrize("count", [1, 5])
def test_a_fixed_batch_is_padded(count: int, tmp_path: Path) -> None:
    import onnx

    from runtime.light_states.classifier import SHIPPED

    model = onnx.load(str(SHIPPED))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, str(tmp_path / "two.onnx"))
    image, boxes = street(["red", "green", "yellow", "red", "green"])
    wanted = open_light_states()(image, boxes[:count])
    found = open_light_states(tmp_path / "two.onnx")(image, boxes[:count])
    np.testing.assert_allclose(found.probability, wanted.probability, atol=1e-5)


def test_run_with_lights_through_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, _ = street(["red", "green"])
    cv2.imwrite(str(tmp_path / "a.png"), image)
    words = ["run", "student", "--source", str(tmp_path / "a.png"), "--lights", "--conf", "0.05"]
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["detections"]) <= set(STATES)
    assert result["detections"]
    assert "states" in result["stages_ms"]
    assert main([*words, "--light-class", "lamp"]) == 2
    assert "no class 'lamp'" in capsys.readouterr().err
    assert main([*words[:4], "--light-class", "lamp"]) == 2
    assert "--light-class without --lights" in capsys.readouterr().err
