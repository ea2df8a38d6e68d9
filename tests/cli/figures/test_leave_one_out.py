"""Trainings without a source, and the table of what they find on it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.cli import leave_one_out
from edgestill.cli.found_table import found_table
from runtime.metrics.found import Found

SETTINGS = ("input_hw=[64, 96]", "train_hw=[64, 64]", "epochs=1", "batch=2")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, names in (("train", ("a_0", "b_0", "b_1", "c_0")), ("val", ("b_2", "c_1"))):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        for name in names:
            image = rng.integers(0, 255, (64, 96, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "images" / split / f"{name}.png"), image)
            (tmp_path / "labels" / split / f"{name}.txt").write_text("0 0.5 0.5 0.3 0.3\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [red, green]\n")
    return tmp_path / "data.yaml"


def run(data: Path, out: Path, *words: str) -> int:
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return leave_one_out.main(
        ["traffic-lights-teacher", "--data", str(data), "--out", str(out), *settings, *words]
    )


@pytest.mark.slow
def test_each_group_of_sources_is_left_out_of_a_training_and_then_counted(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--set", "student.model=yolov5n")
    assert run(data, tmp_path / "out", "--source", "a", "--source", "b", *small) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[:3] for row in rows[2:]] == [["| a", "1", "1"], ["| b", "3", "3"]]
    trained = json.loads((tmp_path / "out/without-b/result.json").read_text())
    assert trained["recipe"]["leave_out"] == ["b"]
    assert trained["images"] == {"train": 2, "unlabelled": 0, "val": 1}
    counts = json.loads((tmp_path / "out/leave-one-out.json").read_text())
    assert {name: (found["images"], found["labels"]) for name, found in counts.items()} == {
        "a": (1, 1),
        "b": (3, 3),
    }


def test_an_unknown_source_is_two_lines(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, tmp_path / "out", "--source", "d") == 2
    assert capsys.readouterr().err.splitlines() == [
        "leave_one_out: no image is of the source d",
        "  hint: the file name before the first _; there are a, b, c",
    ]


def test_the_table_has_shares_of_lights_and_of_those_found() -> None:
    counts = {"x": Found(images=10, labels=20, found=16, right=12, opposite=1, false=3), "y": Found(images=2)}
    assert found_table(counts, "without").splitlines() == [
        "| without | images | lights | found | right class | red and green swapped | false per image |",
        "|---|---:|---:|---:|---:|---:|---:|",
        "| x | 10 | 20 | 16 (80 %) | 12 (75 %) | 1 | 0.30 |",
        "| y | 2 | 0 | 0 (0 %) | 0 (0 %) | 0 | 0.00 |",
    ]
