"""``edgestill distill`` through the command line: stdout, stderr, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.cli.main import main

SMALL = [
    "--set",
    "input_hw=[64, 96]",
    "--set",
    "train_hw=[64, 64]",
    "--set",
    "epochs=1",
    "--set",
    "student.model=yolov5n",
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "images" / split / "a.png"), np.full((64, 96, 3), 90, np.uint8))
        (tmp_path / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.3 0.3\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [red, green]\n")
    return tmp_path / "data.yaml"


def run(*words: str | Path) -> int:
    return main(["distill", *map(str, words)])


def test_a_training_prints_its_result_as_json(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run("traffic-lights-teacher", "--data", data, "--out", out, *SMALL) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((out / "result.json").read_text())
    assert Path(result["best"]).is_dir()


def test_a_dry_run_trains_nothing(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert run("traffic-lights", "--data", data, "--out", out, "--dry-run", "--set", "epochs=7") == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["epochs"] == 7
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(["trafic-lights"], 2, "no recipe is called 'trafic-lights'", id="recipe"),
        pytest.param(["traffic-lights", "--set", "epoch=1"], 2, "'epoch'", id="key"),
        pytest.param(["traffic-lights", "--dta", "x"], 2, "unknown argument '--dta'", id="flag"),
        pytest.param(["traffic-lights"], 2, "has no data set", id="no-data"),
        pytest.param(["traffic-lights-teacher", "--data", "no.yaml"], 3, "no.yaml does not exist", id="data"),
    ],
)
def test_a_mistake_is_two_lines_and_its_exit_code(
    words: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 2
    assert err.splitlines()[1].startswith("  hint: ")


def test_a_label_of_a_class_that_the_data_has_not_is_a_data_error(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels/train/a.txt").write_text("2 0.5 0.5 0.3 0.3\n")
    assert run("traffic-lights-teacher", "--data", data, "--out", tmp_path / "run", *SMALL) == 3
    assert "has class 2, the data set has 2 classes" in capsys.readouterr().err


def test_a_run_is_not_overwritten(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "result.json").write_text("{}")
    assert run("traffic-lights-teacher", "--data", data, "--out", out, *SMALL) == 2
    assert "--resume continues it, --force replaces it" in capsys.readouterr().err
