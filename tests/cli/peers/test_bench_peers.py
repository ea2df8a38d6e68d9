"""``edgestill bench --peers``: flags, table and JSON; the measurement itself is a stand-in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from benchmarks.peers import side_by_side
from benchmarks.peers.model_files import ModelFile
from benchmarks.peers.peer_rows import Row, describe
from edgestill.cli.main import main
from edgestill.cli.verbs import bench


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[side_by_side.Settings]:
    """The settings that the measurement got."""
    found: list[side_by_side.Settings] = []

    def measure(settings: side_by_side.Settings, accuracy: Any) -> dict[str, Any]:
        found.append(settings)
        return result()

    monkeypatch.setattr(side_by_side, "measure", measure)
    return found


def result() -> dict[str, Any]:
    row = Row(program="benchmark_app", file=ModelFile(key="ov-int8", backend="ov", precision="int8"))
    turns = {0: {"figures": {"time_ms": 12.345}, "piece": "one"}}
    good = {**describe(row, turns), "file": "ov-int8.xml", "against": "edgestill ov-fp32"}
    figures = {"ratio": 0.6, "low": 0.55, "high": 0.65, "map50_95": 0.3111, "agreement_map50_95": 0.98765}
    gone = {**describe(row, {}), "file": "gone.xml", "against": "x", "ratio": None, "low": None, "high": None}
    return {
        "kind": "peers",
        "model": "student",
        "threads": 1,
        "rounds": 8,
        "rounds_done": 3,
        "complete": False,
        "doubts": ["the machine was busy"],
        "rows": [
            {**good, **figures, "missing": None, "hint": None},
            {**gone, "missing": "the environment .peers/openvino is missing", "hint": "make peers"},
        ],
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        for k in range(4):
            cv2.imwrite(str(tmp_path / "images" / split / f"{k}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: [red]\n")
    return tmp_path / "data.yaml"


def test_the_flags_become_settings_and_the_result_repeats_its_command(
    asked: list[side_by_side.Settings],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["bench", "runs/a/best", "--peers", "--data", str(data), "--images", "2", "--threads", "1"]
    words += ["--stop-after-s", "200", "--imgsz", "640", "--out", str(tmp_path / "out.json")]
    assert main(words) == 0
    (settings,) = asked
    assert [path.parent.name for path in settings.images] == ["val", "val"]  # there is no test split
    assert settings.work == Path("runs/peers/best")
    assert (settings.peers, settings.rounds, settings.stop_after_s) == (Path(".peers"), 8, 200)
    printed = json.loads(capsys.readouterr().out)
    assert (printed["kind"], printed["split"]) == ("peers", "val")
    assert "--peers" in printed["command"]
    assert "--out" not in printed["command"]
    assert json.loads((tmp_path / "out.json").read_text())["rows"] == printed["rows"]
    assert main(words) == 2  # the file exists
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["a.onnx", "--rounds", "3"], "--rounds belongs to --peers", id="without --peers"),
        pytest.param(["a", "b", "--peers"], "--peers compares one model, these are 2", id="two models"),
        pytest.param(["--peers", "student"], "the word behind --peers is a folder", id="taken for a folder"),
        pytest.param(["a", "--peers", "--interleave"], "--interleave does not apply", id="interleave"),
        pytest.param(["a", "--peers", "--source", "x"], "--source does not apply", id="a source"),
        pytest.param(["a", "--peers", "--suite", "x86"], "--suite does not apply", id="a suite"),
        pytest.param(["a", "--peers", "--images", "5"], "are about --data", id="images of no data"),
        pytest.param(["a", "--peers", "--rounds", "-1"], "nothing to measure", id="less than no round"),
        pytest.param(["a", "--peers", "--threads", "0"], "nothing to measure", id="no thread"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(
    words: list[str], message: str, asked: list[side_by_side.Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words]) == 2
    assert message in capsys.readouterr().err
    assert asked == []


def test_the_table_has_a_line_for_what_is_missing_and_what_each_figure_covers() -> None:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(bench.show(result()))
    text = captured.get()
    for part in ("12.35", "0.600", "0.550 to 0.650", "31.1", "98.8", "threads: 1", "3 of 8 rounds"):
        assert part in text
    assert "missing: benchmark_app gone.xml: the environment .peers/openvino is missing. make peers" in text
    assert "benchmark_app: network, median; random input" in text
    assert "the same command again continues" in text
    assert "warning: the machine was busy" in text


def test_a_report_has_the_table_and_what_each_figure_covers(tmp_path: Path) -> None:
    (tmp_path / "peers.json").write_text(json.dumps({**result(), "model": "/home/me/best.pt"}))
    page = tmp_path / "page.md"
    assert main(["report", str(tmp_path / "peers.json"), "--out", str(page)]) == 0
    text = page.read_text()
    for part in (
        "Other programs: best.pt",
        "0.550 to 0.650",
        "31.1",
        "98.8",
        "3 of 8 rounds",
        "random input",
    ):
        assert part in text
    assert "the environment .peers/openvino is missing. make peers" in text
    assert "/home/me" not in text
