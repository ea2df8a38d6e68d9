"""Calibration through the door of ``edgestill export``."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
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
    assert told["calibration"]["images"] == told["calibration"]["found"]["images_with_detections"] == 2
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


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """Images of no light to calibrate on, and others to compare on."""
    rng = np.random.default_rng(0)
    for split, i in itertools.product(("train", "val"), range(4)):
        (tmp_path / "noise" / split).mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 255, (64, 96, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "noise" / split / f"{i}.png"), image)
    path = tmp_path / "noise.yaml"
    path.write_text("train: noise/train\nval: noise/val\nnames: [a, b]\n")
    return path


def test_images_of_another_domain_prove_nothing(
    noise: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--precision", "int8", "--calib", str(noise), "--out", str(tmp_path / "out"))
    assert main([*WORDS, *words]) == 6
    error = capsys.readouterr().err
    assert "on 0 of 4 calibration images: they may be of another domain" in error
    assert "student-64x96-int8.onnx was not published: nothing was compared" in error.splitlines()[-2]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_images_of_another_domain_are_a_doubt_where_others_are_compared_on(
    noise: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("export.verify.gate.failures", lambda *_: ())  # ranges of noise lose too much
    told, _ = export(
        capsys, "--precision", "int8", "--calib", noise, "--verify", data, "--out", tmp_path / "out"
    )
    assert told["calibration"]["found"] == {"images": 4, "images_with_detections": 0, "detections": 0}
    assert any("0 of 4 calibration images" in doubt for doubt in told["doubts"])
    kept = json.loads(Path(told["manifest"]).read_text())["calibration"]
    assert "0 of 4 calibration images" in kept["doubts"][0]


@pytest.mark.slow
def test_lights_are_found_on_images_of_lights(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, _ = export(capsys, "--precision", "int8", "--calib", data, "--out", tmp_path / "out")
    assert told["calibration"]["found"] == {"images": 4, "images_with_detections": 4, "detections": 4}
    assert told["calibration"]["doubts"] == []
