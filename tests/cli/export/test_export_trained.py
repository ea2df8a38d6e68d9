"""A checkpoint that was trained with rounding through the door of ``edgestill export``."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from distill.qat.settings import QatConfig
from edgestill.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from edgestill.cli.main import main
from edgestill.cli.options.qat import quantise_for_qat
from edgestill.manifest import read_manifest
from edgestill.shipped import checkpoint_folder


def write_images(root: Path, draw: Callable[[int], Any]) -> Path:
    """A data set without labels, two images to a split."""
    for seed, (split, i) in enumerate(itertools.product(("train", "val"), range(2))):
        (root / "images" / split).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / "images" / split / f"{i}.png"), draw(seed))
    path = root / "data.yaml"
    path.write_text("train: images/train\nval: images/val\nnames: [a, b]\n")
    return path


def draw_noise(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, draw_light: Callable[[int], Any]) -> Path:
    return write_images(tmp_path_factory.mktemp("data"), draw_light)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped student with scales for ONNX Runtime that no calibration would choose."""
    noise = write_images(tmp_path_factory.mktemp("noise"), draw_noise)
    student = read_checkpoint(checkpoint_folder("student"))
    small = Checkpoint(spec=student.spec.resized((64, 96)), weights=student.weights)
    found = quantise_for_qat(small, QatConfig(family="onnx", calib_images=2), (str(noise),)).scheme
    grids = {
        name: replace(grid, scale=float(np.float32(grid.scale * 1.01)) if grid.is_learnt else grid.scale)
        for name, grid in found.quant_params.items()
    }
    folder = tmp_path_factory.mktemp("qat") / "best"
    write_checkpoint(folder, replace(small, scheme=replace(found, quant_params=grids)))
    return folder


def export(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[Any, str]:
    code = main(["export", *map(str, words)])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out), err


def test_trained_scales_are_exported_as_they_are_without_images(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, err = export(capsys, trained, "--to", "onnx", "--precision", "int8", "--out", tmp_path)
    assert "the scales are those trained for onnx" in err
    record = read_manifest(Path(told["files"][0]))
    assert record is not None
    assert record.calibration is not None
    assert record.calibration["method"] == "trained scales"
    grids = read_checkpoint(trained).scheme
    assert grids is not None
    low, high, origin = record.calibration["ranges"]["model.5.act"]
    assert (high - low) / 255 == pytest.approx(
        grids.quant_params[grids.activations["model.5.act"]].scale, rel=1e-9
    )
    assert origin == "trained"
    assert record.calibration["ranges"]["images"][2] == "known"


def test_the_file_is_compared_with_the_network_as_it_was_trained(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--precision", "int8", "--verify", data, "--out", tmp_path)
    told, _ = export(capsys, trained, "--to", "onnx", *words)
    assert told["verify"]["reference"] == "torch checkpoint, quantised as it was trained"


def test_scales_of_another_family_are_refused_unless_they_are_left(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(trained), "--to", "openvino", "--precision", "int8", "--out", str(tmp_path / "x")]
    assert main(words) == 2
    error = capsys.readouterr().err.splitlines()
    assert "scales were trained for onnx, not for openvino" in error[-2]
    assert error[-1].startswith("  hint: --to onnx, or --calib-anew")
    assert not (tmp_path / "x").exists()
    assert main([*words, "--calib-anew"]) == 2
    assert "INT8 needs images to calibrate on" in capsys.readouterr().err


@pytest.mark.slow
def test_scales_that_are_left_are_calibrated_anew(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--to", "openvino", "--precision", "int8", "--out", tmp_path / "x"]
    told, _ = export(capsys, trained, *words, "--calib-anew", "--calib", data, "--max-drop", 100)
    assert told["calibration"]["method"].startswith("activations u8")


def test_flags_that_do_not_go_together_are_told(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(trained), "--to", "onnx"]
    assert main([*words, "--precision", "fp32", "--calib-anew"]) == 2
    assert "--calib-anew is for INT8, not for fp32" in capsys.readouterr().err
    assert main([*words, "--precision", "int8", "--calib-method", "max"]) == 2
    assert "the checkpoint's scales are trained" in capsys.readouterr().err
