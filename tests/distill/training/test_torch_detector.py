"""A torch network behind the runtime's letterbox and decode."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from distill.checkpoints.native import load
from distill.models.yolov5 import Yolov5, build, model_spec
from distill.training.torch_detector import TorchDetector
from runtime.detector import Detector

IMAGE = np.random.default_rng(0).integers(0, 255, (50, 90, 3), np.uint8)


def certain_of(class_id: int, cell_yx: tuple[int, int]) -> Yolov5:
    """A network that sees one object, whatever the image: anchor 0 of the coarsest level at one cell."""
    model = build("n", 3)
    with torch.no_grad():
        for conv in model.head.m:
            conv.get_parameter("weight").zero_()
            conv.get_parameter("bias").fill_(-20)

    def put(_module: object, _inputs: object, raw: list[torch.Tensor]) -> None:
        y, x = cell_yx
        raw[2][0, 0, y, x] = torch.tensor([0.0, 0.0, 0.0, 0.0, 20.0, -20.0, -20.0, -20.0])
        raw[2][0, 0, y, x, 5 + class_id] = 20.0

    model.head.register_forward_hook(put)
    return model


def test_a_prediction_comes_back_in_source_pixels() -> None:
    model = certain_of(2, (1, 3))
    detector = TorchDetector(model, model_spec(model, ("a", "b", "c"), (128, 192)))
    image = np.zeros((256, 384, 3), np.uint8)  # twice the input, no border
    found = detector(image)

    # Anchor 0 is 116 x 90 input pixels; the cell's middle is (3.5, 1.5) * 32.
    centre, half = np.array([112, 48]), np.array([58, 45])
    wanted = np.clip(2 * np.concatenate((centre - half, centre + half)), 0, [384, 256, 384, 256])
    np.testing.assert_allclose(found.xyxy, wanted[None], atol=1e-2)
    assert found.class_id.tolist() == [2]
    assert found.score[0] == pytest.approx(1, abs=1e-3)


def test_it_is_a_detector_like_any_other() -> None:
    model = build("n", 1)
    detector: Detector = TorchDetector(model, model_spec(model, ("light",), (64, 96)))

    assert len(detector(IMAGE)) == 0  # fresh networks are sure of nothing


def test_training_on_does_not_change_the_snapshot() -> None:
    model = build("n", 2)
    detector = TorchDetector(model, model_spec(model, ("a", "b"), (64, 96)), conf=1e-6)
    before = detector(IMAGE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)

    np.testing.assert_array_equal(detector(IMAGE).score, before.score)
    assert len(before)


def test_the_network_stays_in_training_mode() -> None:
    model = build("n", 2).train()
    TorchDetector(model, model_spec(model, ("a", "b"), (64, 96)))(IMAGE)

    assert all(module.training for module in model.modules())


def test_the_published_weights_find_the_published_boxes(shared_data: Path) -> None:
    assets = pytest.importorskip("ultralytics.utils").ASSETS
    model, contract, _ = load(shared_data / "weights" / "yolov5n.pt")
    image = cv2.imread(str(assets / "bus.jpg"))
    assert image is not None
    found = TorchDetector(model, contract, conf=0.25, iou=0.45)(np.asarray(image, np.uint8))

    names = [contract.classes[i] for i in found.class_id]
    assert names == ["person", "person", "person", "bus"]
    np.testing.assert_allclose(found.score, [0.814, 0.791, 0.608, 0.508], atol=0.002)
