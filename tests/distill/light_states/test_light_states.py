"""The classifier learns rendered heads; its ONNX file gives what the network gives; scores count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from distill.data.augment import generator
from distill.light_states.fit import Settings, fit_temperature, logits, train
from distill.light_states.labelled_heads import Head, read_heads
from distill.light_states.light_state_net import LightStateNet, folded_weights
from distill.light_states.scores import score
from distill.light_states.vary_heads import vary
from edgestill.dataset import Dataset
from edgestill.errors import DataError
from export.graph.light_states import build_light_states
from runtime.light_states.classifier import STATES, open_light_states, to_input

COLOURS = {"red": (30, 30, 240), "yellow": (30, 200, 240), "green": (130, 230, 40)}


def head(state: str, seed: int, source: str = "made") -> Head:
    """A grey image with a head of 16 x 40 pixels; ``unknown`` is a picture of noise."""
    rng = np.random.default_rng(seed)
    image = np.full((120, 96, 3), rng.integers(60, 200), np.uint8)
    box = np.array([40, 40, 56, 80], np.float32)
    if state == "unknown":
        image[40:80, 40:56] = rng.integers(0, 255, (40, 16, 3))
    else:
        image[40:80, 40:56] = 25
        for i, name in enumerate(COLOURS):
            colour = COLOURS[name] if name == state else (45, 45, 45)
            cv2.circle(image, (48, 47 + 13 * i), 5, colour, -1)
    return Head(image, box, STATES.index(state), source, 16.0)


def heads(each: int, first_seed: int = 0) -> list[Head]:
    return [head(state, first_seed + seed) for state in STATES for seed in range(each)]


@pytest.fixture(scope="module")
def trained() -> LightStateNet:
    torch.set_num_threads(1)
    return train(heads(40), Settings(epochs=14, batch=20, lr=6e-3))


def test_it_learns_rendered_heads(trained: LightStateNet) -> None:
    unseen = heads(10, first_seed=1000)
    probability = torch.softmax(logits(trained, unseen), dim=1).numpy()
    assert score(unseen, probability, share=0)["all"]["correct"] >= 0.9


def test_the_onnx_file_gives_the_calibrated_probabilities(trained: LightStateNet, tmp_path: Path) -> None:
    path = tmp_path / "states.onnx"
    path.write_bytes(build_light_states(folded_weights(trained, 1.7)).SerializeToString())
    assert path.stat().st_size < 100_000
    crops = np.random.default_rng(0).integers(0, 255, (7, 40, 20, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {"crops": to_input(crops)})[0]
    with torch.no_grad():
        wanted = torch.softmax(trained(torch.from_numpy(to_input(crops))) / 1.7, dim=1).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_file_of_an_export_classifies_the_boxes_of_a_frame(trained: LightStateNet, tmp_path: Path) -> None:
    path = tmp_path / "states.onnx"
    path.write_bytes(build_light_states(folded_weights(trained, 1.0)).SerializeToString())
    classifier = open_light_states(path)
    frame, boxes = beside([head(state, 5000) for state in ("green", "red", "off")])
    found = classifier(frame, boxes)
    assert [STATES[i] for i in found.probability.argmax(axis=1)] == ["green", "red", "off"]
    assert found.probability.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert not len(classifier(frame, boxes[:0]).state)


def beside(made: list[Head]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """One frame with several heads, and their boxes."""
    width = made[0].image_bgr.shape[1]
    boxes = [one.xyxy + np.array([i * width, 0] * 2, np.float32) for i, one in enumerate(made)]
    return np.concatenate([one.image_bgr for one in made], axis=1), np.array(boxes, np.float32)


def test_a_state_that_is_not_sure_is_unknown(trained: LightStateNet, tmp_path: Path) -> None:
    path = tmp_path / "states.onnx"
    path.write_bytes(
        build_light_states(folded_weights(trained, 100.0)).SerializeToString()
    )  # flat probabilities
    frame, boxes = beside([head("red", 0)])
    assert open_light_states(path)(frame, boxes).state.tolist() == [STATES.index("unknown")]


def test_a_state_without_heads_is_refused() -> None:
    without_yellow = [one for one in heads(2) if one.state != STATES.index("yellow")]
    with pytest.raises(DataError, match="yellow"):
        train(without_yellow, Settings(epochs=1))


def test_the_temperature_flattens_overconfident_logits() -> None:
    """Of 10 heads with a logit gap of 8, 8 are right: the fitted confidence is about 0.8."""
    found = torch.zeros(10, len(STATES))
    found[:, 0] = 8.0
    states = torch.tensor([0] * 8 + [1] * 2)
    confidence = torch.softmax(found / fit_temperature(found, states), dim=1)[0, 0].item()
    assert confidence == pytest.approx(0.8, abs=0.05)


def test_scores_are_counted_by_state_size_and_source() -> None:
    made = [head("red", 0, "a"), head("red", 1, "b"), head("green", 2, "a"), head("unknown", 3, "a")]
    made[1] = replace(made[1], short_px=4.0)
    probability = np.full((4, 5), 0.05, np.float32)
    probability[0, 0] = probability[1, 2] = probability[3, 4] = 0.8
    probability[2, :] = 0.2
    result = score(made, probability)
    assert result["all"] == {"heads": 3, "correct": 0.3333, "unknown": 0.3333, "wrong": 0.3333}
    assert result["by_state"]["red"]["wrong"] == 0.5
    assert result["by_size"]["0-6 px"] == {"heads": 1, "correct": 0.0, "unknown": 0.0, "wrong": 1.0}
    assert result["by_source"]["a"]["unknown"] == 0.5
    assert (result["red_for_green"], result["green_for_red"]) == (1, 0)
    assert result["without_head"] == {"boxes": 1, "got_a_state": 0.0}


def test_heads_are_read_with_their_surroundings_and_sources(tmp_path: Path) -> None:
    write_set(tmp_path, ["city_1", "town_1"])
    dataset = Dataset.open(tmp_path / "data.yaml")
    found = read_heads([dataset], "train")
    lights = [one for one in found if one.state != STATES.index("unknown")]
    assert [(STATES[one.state], one.source) for one in lights] == [("green", "city"), ("green", "town")]
    x0, y0, x1, y1 = lights[0].xyxy.round().astype(int)
    assert (lights[0].image_bgr[y0:y1, x0:x1] > 200).all()
    assert {one.source for one in read_heads([dataset], "train", without=["town"])} == {"city"}


def write_set(folder: Path, names: list[str]) -> None:
    """A data set with one white head of class 0, green, in each image."""
    for kind in ("images", "labels"):
        (folder / kind / "train").mkdir(parents=True)
    image = np.full((100, 200, 3), 60, np.uint8)
    image[40:60, 100:110] = 255
    for name in names:
        cv2.imwrite(str(folder / "images" / "train" / f"{name}.png"), image)
        (folder / "labels" / "train" / f"{name}.txt").write_text("0 0.525 0.5 0.05 0.2\n")
    (folder / "data.yaml").write_text("train: images/train\nnames: [green, red]\n")


def test_crops_vary_and_repeat() -> None:
    one = head("red", 0)
    first, again, other = (vary(one, generator(0, 0, seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_another_model_is_no_classifier(tmp_path: Path) -> None:
    from edgestill.errors import ArtifactError
    from export.graph.writer import GraphWriter

    writer = GraphWriter()
    writer.node("Relu", "output", ["input"])
    model = writer.model("x", inputs={"input": [1, 3, 8, 8]}, outputs={"output": [1, 3, 8, 8]}, metadata={})
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="light states"):
        open_light_states(tmp_path / "x.onnx")
