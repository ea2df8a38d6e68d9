"""Images on which the model finds hardly anything are said to be of another domain, and prove nothing."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from export.quantize.calibration.domain import (
    IMAGES,
    LEAST_SHARE,
    CalibrationFindings,
    look_for_objects,
    refuse_foreign,
)
from export.verify.evidence import DETECTIONS, MEAN_AP
from export.verify.gate import NothingComparedError

FOREIGN = CalibrationFindings(images=32, images_with_detections=1, detections=2)
CALIBRATION = {"data": "street/data.yaml"}


def verified(data: str, sure: int, *by: str) -> dict[str, Any]:
    return {"data": data, "reference_sure": sure, "images": 40, "compared_by": list(by)}


def test_what_the_model_finds_on_some_images_is_counted(tiny_model: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i:02d}.png" for i in range(IMAGES + 8)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((32, 32, 3), i, np.uint8))
    found = look_for_objects(tiny_model, paths)
    assert (found.images, found.images_with_detections, found.detections) == (IMAGES,) * 3
    assert found.doubts == ()


@pytest.mark.parametrize(("with_detections", "foreign"), [(0, True), (3, True), (4, False), (32, False)])
def test_one_image_in_ten_is_the_least(with_detections: int, foreign: bool) -> None:
    found = CalibrationFindings(images=32, images_with_detections=with_detections, detections=40)
    assert found.is_foreign is foreign is (with_detections / 32 < LEAST_SHARE)
    assert [f"on {with_detections} of 32 calibration images" in line for line in found.doubts] == [
        True
    ] * foreign


def test_a_few_false_detections_on_the_same_data_are_no_proof() -> None:
    with pytest.raises(NothingComparedError, match="with 3 confident detections on 40 images") as caught:
        refuse_foreign("x.onnx", FOREIGN, CALIBRATION, verified("street/../street/data.yaml", 3, DETECTIONS))
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("findings", "verify"),
    [
        pytest.param(FOREIGN, None, id="not-compared"),
        pytest.param(FOREIGN, verified("helmets/data.yaml", 3, DETECTIONS), id="other-data"),
        pytest.param(FOREIGN, verified("street/data.yaml", 4, DETECTIONS), id="enough-detections"),
        pytest.param(FOREIGN, verified("street/data.yaml", 3, DETECTIONS, MEAN_AP), id="labels"),
        pytest.param(
            CalibrationFindings(images=32, images_with_detections=20, detections=20),
            verified("street/data.yaml", 3, DETECTIONS),
            id="own-domain",
        ),
    ],
)
def test_everything_else_is_left_to_the_limits(
    findings: CalibrationFindings, verify: dict[str, Any] | None
) -> None:
    refuse_foreign("x.onnx", findings, CALIBRATION, verify)
