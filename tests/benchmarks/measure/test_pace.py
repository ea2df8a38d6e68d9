"""Two files in turns: what is told of their times. No test asserts a time."""

from pathlib import Path

import cv2
import numpy as np

from benchmarks.measure.pace import KEPT, pace


def test_the_ratio_comes_with_its_interval_and_its_samples(tiny_model: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((32, 32, 3), np.uint8))
    told = pace(tiny_model, tiny_model, str(tmp_path / "x.png"), duration_s=0)
    assert set(told) == {"samples", *KEPT}
    assert told["measure"] == "inference"
    assert told["samples"] >= 50
    assert told["low"] <= told["ratio"] <= told["high"]
    assert told["a_ms"] > 0
