"""The whole line, small: every step is the real command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgestill.demo.demo_report import files_of_demo


@pytest.mark.slow
def test_the_quick_demo_writes_its_report_clip_and_summary(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    command = [sys.executable, "-m", "edgestill", "demo", "--quick", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]

    summary = json.loads((out / "summary.json").read_text("utf-8"))
    assert json.loads(done.stdout) == summary
    main = [out / name for name in ("report.html", "annotated.mp4", "summary.json")]
    assert summary["files"][:3] == list(map(str, main))
    assert all(path.stat().st_size > 0 for path in main)
    assert summary["data_sets"] == [str(out / "first"), str(out / "scenes")]
    found = {str(path) for path in out.rglob("*") if path.is_file()}
    named = set(summary["files"])
    assert {name for name in found - named if not name.startswith(tuple(summary["data_sets"]))} == set()
    assert named <= found
    assert [(e["to"], e["precision"], e["verify"]["failures"]) for e in summary["exports"]] == [
        (target, precision, []) for target in ("onnx", "openvino") for precision in ("fp32", "int8")
    ]
    figures = summary["figures"]
    assert figures["student_before_map50_95"] < 0.01 < figures["student_after_map50_95"]
    assert (out / "first.jpg").stat().st_size > 0
    assert f"first annotated image: {out / 'first.jpg'}" in done.stderr
    page = (out / "report.html").read_text("utf-8")
    assert all(step["command"].split()[1] in page for step in summary["steps"])
    assert "http://" not in page.replace("http://www.w3.org", "")  # self-contained but for XML namespaces
    assert "https://" not in page


def test_every_file_of_a_demo_is_named_but_for_the_images_of_its_data_sets(tmp_path: Path) -> None:
    names = [
        "summary.json",
        "report.html",
        "annotated.mp4",
        "distilled/best/model.json",
        ".marker",
        "first.jpg",
    ]
    for name in (*names, "scenes/data.yaml", "scenes/images/val/0.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert {Path(name) for name in files_of_demo(tmp_path)} == {tmp_path / name for name in names}


def test_a_folder_that_holds_something_is_not_taken_without_force(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    command = [sys.executable, "-m", "edgestill", "demo", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is not empty" in done.stderr
