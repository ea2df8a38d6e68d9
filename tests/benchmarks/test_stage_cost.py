"""CPU time of the stages of detection."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.stage_cost import STAGES, main


def test_each_file_has_the_time_of_each_stage(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "x.png"
    cv2.imwrite(str(image), np.zeros((48, 64, 3), np.uint8))
    assert main([str(tiny_model), "--image", str(image), "--frames", "2", "--rounds", "2"]) == 0
    (stages,) = json.loads(capsys.readouterr().out).values()
    assert tuple(stages) == STAGES
    assert all(0 < ms["least_ms"] <= ms["median_ms"] for ms in stages.values())


def test_an_image_that_cannot_be_read_is_told(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tiny_model), "--image", str(tmp_path / "x.png")]) == 3
    assert "x.png cannot be read" in capsys.readouterr().err
