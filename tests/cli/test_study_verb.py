"""``edgestill study`` through the command line: stdout, stderr, exit codes."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from distill.study import cell
from distill.study.study_file import study_names
from edgestill.cli.main import main
from edgestill.cli.verbs import study

SMALL = [
    word
    for setting in ("input_hw=[64, 96]", "train_hw=[64, 64]", "epochs=1", "seeds=[0]", "resamples=50")
    for word in ("--set", setting)
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for split in ("train", "val", "test"):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "images" / split / "a.png"), np.full((64, 96, 3), 90, np.uint8))
        (tmp_path / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.3 0.3\n")
    splits = "".join(f"{split}: images/{split}\n" for split in ("train", "val", "test"))
    (tmp_path / "data.yaml").write_text(f"{splits}names: [red, yellow, green, 'off']\n")
    return tmp_path / "data.yaml"


def run(*words: str | Path) -> int:
    return main(["study", *map(str, words)])


@pytest.mark.parametrize("name", study_names())
def test_every_shipped_study_dry_runs(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(name, "--data", "d.yaml", "--out", tmp_path / "out", "--dry-run") == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert cells[0]["folder"].startswith(str(tmp_path / "out" / "cells"))
    assert cells[0]["recipe"]["data"] == ["d.yaml"]
    assert not (tmp_path / "out").exists()


def test_only_some_arms(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("street", "--dry-run", "--only", "none", "fgfi", "--set", "seeds=[0]") == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert [cell["cell"] for cell in cells] == ["none, yolov5n, seed 0", "fgfi, yolov5n-from-teacher, seed 0"]


class Ended:
    """A process that has ended with a code."""

    def __init__(self, code: int) -> None:
        self.code = code

    def poll(self) -> int:
        return self.code


def train_here(folder: Path, threads: int) -> Ended:
    """A cell in this process, which has imported what a cell needs already."""
    return Ended(cell.main([str(folder), "--threads", str(threads)]))


def test_a_study_trains_its_cells_and_goes_on_by_itself(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first cell is a process of its own."""
    words = ["street", "--data", data, "--out", tmp_path / "out", "--jobs", "2", *SMALL]
    words += ["--set", 'arms=["none", "default"]']
    assert run(*words, "--only", "none") == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["finished"], first["cells"], first["split"]) == (1, 2, "test")
    monkeypatch.setattr("distill.study.local.launch", train_here)
    monkeypatch.setattr("distill.training.run_folder.draw", lambda *_: {})
    assert run(*words) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert "1 of 2 cells are finished already" in err
    assert (result["finished"], result["failed"]) == (2, {})
    assert [row["arm"] for row in result["rows"]] == ["(the teacher)", "none", "default"]
    found = {str(path) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert (set(result["files"]), len(result["files"])) == (found, len(found))
    console = Console(width=200, file=StringIO())
    console.print(study.show(result))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "2 of 2 cells" in text
    assert "table.md" in text
    assert "history.csv" not in text, "the files of each cell are not listed on the terminal"


def test_a_failed_cell_is_told_with_its_exit_code(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill.study.local.launch", train_here)
    (tmp_path / "labels/train/a.txt").write_text("7 0.5 0.5 0.3 0.3\n")
    code = run("street", "--data", data, "--out", tmp_path / "out", *SMALL, "--set", 'arms=["none"]')
    out, err = capsys.readouterr()
    assert code == 3
    assert json.loads(out)["finished"] == 0
    assert "1 cells failed; none, yolov5n, seed 0: " in err
    assert "has class 7, the data set has 4 classes" in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(["stret"], 2, "no study is called 'stret'", id="study"),
        pytest.param(["none.toml"], 2, "none.toml does not exist", id="file"),
        pytest.param(["street", "--set", "epoch=1"], 2, "'epoch'", id="key"),
        pytest.param(["street", "--only", "fgfy"], 2, "no arm is called 'fgfy'", id="only"),
        pytest.param(["street", "--against", "cwd"], 2, "no arm of this study", id="against"),
        pytest.param(["street", "--jobs", "-1"], 2, "--jobs -1", id="jobs"),
        pytest.param(["street", "--jobs", "2", "--engine", "ray"], 2, "--engine ray", id="ray-jobs"),
        pytest.param(["street", "--engine", "slurm"], 2, "slurm", id="engine"),
        pytest.param(["street"], 2, "names no data", id="no-data"),
        pytest.param(["street", "--data", "no.yaml"], 3, "no.yaml does not exist", id="data"),
        pytest.param(["aer1515", "--data", "no.yaml"], 2, "no weights at runs/aer1515", id="teacher"),
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
