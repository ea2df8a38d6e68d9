"""Calibration through the door of ``edgestill export``."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgestill.cli.main import main

WORDS = ("export", "student", "--to", "onnx", "--imgsz", "64x96", "--max-drop", "100")


@pytest.fixture
def data(tmp_path: Path, draw_light: Callable[[int], Any]) -> Path:
    seeds = itertools.count()
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        for i in range(4):
            cv2.imwrite(str(tmp_path / "images" / split / f"{i}.png"), draw_light(next(seeds)))
    path = tmp_path / "data.yaml"
    path.write_text("train: images/train\nval: images/val\nnames: [a, b]\n")
    return path


def export(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[Any, str]:
    code = main([*WORDS, *(str(word) for word in words)])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out), err


def test_auto_tries_all_and_the_next_export_uses_the_same_statistics(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--precision", "int8", "--calib", data, "--calib-images", 2)
    told, _ = export(capsys, *words, "--calib-method", "auto", "--out", tmp_path / "a")
    trial = told["calibration"]["trial"]
    assert set(trial["map50_95"]) == {"mse", "max", "entropy", "percentile"}
    assert trial["images"] == "2 other images of train"
    assert told["calibration"]["images"] == 2
    told, err = export(capsys, *words, "--calib-method", "max", "--out", tmp_path / "b")
    assert told["calibration"]["tuning"]["method"] == "max"
    assert "using its tensor statistics" in err
    assert "observe activations" not in err


def test_an_image_of_the_verify_split_under_another_name_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The --verify set is another one, of which a single image would be looked at."""
    other = tmp_path / "other"
    shutil.copytree(data.parent / "images" / "val", other / "images" / "test")
    shutil.copy(data.parent / "images" / "train" / "3.png", other / "images" / "test" / "zz.png")
    (other / "data.yaml").write_text("test: images/test\nnames: [a, b]\n")
    words = ("--precision", "int8", "--calib", data, "--verify", other / "data.yaml", "--images", "1")
    assert main([*WORDS, *map(str, words), "--out", str(tmp_path / "out")]) == 3
    error = capsys.readouterr().err.splitlines()
    assert "1 of 4 calibration images are also used for verification, e.g. 3.png is zz.png" in error[-2]
    assert error[-1].startswith("  hint: calibrate on images that are not in val, test or --verify")
    assert not (tmp_path / "out").exists()


def test_a_method_is_for_int8_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--precision", "fp32", "--calib-method", "max"]) == 2
    assert "--calib-method is for INT8, not for fp32" in capsys.readouterr().err
