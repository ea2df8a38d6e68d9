"""``edgestill bench --suite``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.suite import tool
from benchmarks.suite.tool import Outcome
from edgestill.cli.main import main
from edgestill.cli.options.benchmark.suite import named_models
from edgestill.cli.verbs import bench
from edgestill.errors import UsageError

MATRIX = """
[matrix]
precisions = ["fp32", "fp16", "int8"]
visits = 1
duration_s = 0
min_samples = 8
"""


def test_models_are_named_by_their_files_or_by_hand() -> None:
    assert named_models(["student", "runs/a/best.pt", "b=x=y.pt"]) == {
        "student": "student",
        "best": "runs/a/best.pt",
        "b": "x=y.pt",
    }
    with pytest.raises(UsageError, match="two models are called 'best'"):
        named_models(["a/best.pt", "b/best.pt"])


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([], "there is no MODEL"),
        (["student", "--max-ms", "3"], "--max-ms belongs to --suite"),
        (["student", "--data", "d.yaml"], "--data belongs to --suite"),
        (["--suite", "x86", "--min-map", "40", "--data", "d.yaml"], "--min-map 40 is no mAP"),
        (["--suite", "x86", "--min-map", "0.4"], "--min-map needs labelled images"),
        (["--suite", "x86", "--threads", "2"], "--threads does not apply to --suite"),
        (["--suite", "x86", "--baseline", "a.json"], "--baseline does not apply to --suite"),
        (["--suite", "x68"], "no suite is called 'x68'"),
        (["a=nowhere", "--suite", "x86"], "there is no checkpoint nowhere"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_two_lines(
    words: list[str], what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *words]) in {2, 4}
    first, hint = capsys.readouterr().err.splitlines()
    assert what in first
    assert hint.startswith("  hint: ")


def _verbs(arguments: Sequence[str]) -> Outcome:
    """What the verbs answer for files of three precisions; the export of FP16 fails."""
    if "fp16" in arguments:
        return Outcome(result={}, error="export: no FP16 here", exit_code=5)
    if arguments[0] == "export":
        name, out = (arguments[arguments.index(flag) + 1] for flag in ("--name", "--out"))
        return Outcome(result={"files": [f"{out}/{name}.onnx"], "bytes": 1 << 20, "input_hw": [64, 96]})
    ms = 8.0 if "int8" in arguments[1] else 20.0
    model = {"p50_ms": ms, "p90_ms": None, "stages_ms": {"inference": ms}, "throughput_fps": 1e3 / ms}
    more = {"doubts": [], "samples": 4, "environment": {}, "precision_proved": {"float32": 60}}
    footage = {"frames": 4, "source": "images"}
    return Outcome(result={"models": [{**model, **more}], "footage": footage})


def test_a_suite_writes_its_result_and_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "run_edgestill", _verbs)
    (tmp_path / "mine.toml").write_text(MATRIX)
    out = tmp_path / "out"
    words = [
        "bench",
        "s=student",
        "--suite",
        str(tmp_path / "mine.toml"),
        "--out",
        str(out),
        "--max-ms",
        "15",
    ]
    assert main(words) == 0
    printed = capsys.readouterr().out
    result = json.loads(printed)
    assert json.loads((out / "suite.json").read_text()) == result
    assert (result["kind"], result["best"]) == ("suite", "s-own-int8-onnx-ort-1-single")
    console = Console(width=200, record=True)
    console.print(bench.show(result))
    text = console.export_text()
    assert "best within the limits: s-own-int8-onnx-ort-1-single" in text
    assert "failed: s-own-fp16-onnx-ort-1-single: export: no FP16 here" in text
    page = tmp_path / "page.html"
    assert main(["report", str(out / "suite.json"), "--out", str(page)]) == 0
    assert "at most 15 ms" in page.read_text()
    table = tmp_path / "table.csv"
    assert main(["report", str(out / "suite.json"), "--out", str(table)]) == 0
    (line,) = [line for line in table.read_text().splitlines() if "int8" in line and ",p50_ms," in line]
    assert ",8.0,milliseconds," in line


@pytest.mark.slow
def test_a_suite_of_the_shipped_student_from_scenes_to_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = tmp_path / "scenes"
    assert main(["data", "synth", "--out", str(scenes), "--images", "40", "--seed", "5"]) == 0
    sizes = 'backends = ["ort", "ov"]\nsizes = ["own", "320x576"]\nscenarios = ["single", "offline"]\n'
    (tmp_path / "mine.toml").write_text(f'[models]\nstudent = "student"\n{MATRIX}{sizes}')
    words = ["--data", str(scenes / "data.yaml"), "--out", str(tmp_path / "out"), "--min-map", "0.01"]
    capsys.readouterr()
    assert main(["bench", "--suite", str(tmp_path / "mine.toml"), *words]) == 0
    result = json.loads(capsys.readouterr().out)
    rows = result["cells"]
    assert len(rows) == 24
    assert [row["reason"] for row in rows if row["precision"] == "fp32"] == [None] * 8
    assert all(row["throughput_fps"] > 0 and row["map50_95"] is not None for row in rows if not row["reason"])
    assert result["best"]
    assert result["fronts"]["p50_ms"]
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "out" / "suite.json"), "--out", str(page)]) == 0
    assert page.read_text().count("<svg") >= 1
