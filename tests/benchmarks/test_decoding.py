"""CPU time by decoder."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.decoding import main


def test_each_decoder_has_its_time_and_the_first_is_the_reference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    path = tmp_path / "x.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for _ in range(6):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    assert main([str(path), "--frames", "4", "--rounds", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["opencv", "pyav"]
    assert found["opencv"]["ratio"] == 1
    assert found["pyav"]["least_ms"] > 0


def test_a_missing_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "x.mp4")]) == 3
    assert "does not exist" in capsys.readouterr().err
