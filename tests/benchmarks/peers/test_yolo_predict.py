"""``edgestill run`` beside ``yolo predict``, here a program that writes labels only."""

import json
import sys
from pathlib import Path

import cv2
import pytest

from benchmarks.measure.footage import draw_street
from benchmarks.peers.yolo_predict import main
from runtime.detector import open_detector
from runtime.frames import open_source

YOLO = """#!{python}
import sys
from pathlib import Path
options = dict(word.split("=", 1) for word in sys.argv[2:])
if options.get("save_txt") == "True":
    labels = Path(options["project"], "predict", "labels")
    labels.mkdir(parents=True)
    (labels / "clip_1.txt").write_text("0 0.5 0.5 0.1 0.1\\n" * {boxes})
"""


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (160, 96))
    for i in range(3):
        writer.write(draw_street(i)[:96, :160])
    writer.release()
    return path


def yolo(folder: Path, boxes: int) -> str:
    path = folder / "yolo"
    path.write_text(YOLO.format(python=sys.executable, boxes=boxes))
    path.chmod(0o755)
    return str(path)


def test_whole_processes_are_compared_once_both_found_the_same(
    clip: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = open_detector(tiny_model)
    boxes = sum(len(detector(frame.image_bgr)) for frame in open_source(clip).frames())
    assert boxes > 0
    words = [str(tiny_model), str(clip), "--rounds", "1", "--tasks", "boxes"]
    assert main([*words, "--yolo", yolo(tmp_path, boxes)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["boxes"] == {"edgestill": boxes, "yolo": boxes}
    task = found["tasks"]["boxes"]
    (ours,), (theirs,) = task["runs"]["edgestill"], task["runs"]["yolo"]
    assert task["ratio"]["cpu_s"] > 1  # the stand-in does nothing
    assert ours["cpu_s"] > theirs["cpu_s"] > 0
    assert ours["peak_mib"] > 0
    assert str(tmp_path) not in json.dumps(found["commands"])


@pytest.mark.slow
def test_programs_that_found_different_boxes_are_not_compared(
    clip: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tiny_model), str(clip), "--yolo", yolo(tmp_path, 100)]) == 3
    assert "edgestill found 3 boxes" in capsys.readouterr().err


def test_a_missing_or_failing_program_is_told(
    clip: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tiny_model), str(clip), "--yolo", str(tmp_path / "none")]) == 5
    assert "there is no program" in capsys.readouterr().err
    broken = tmp_path / "yolo"
    broken.write_text("#!/bin/sh\necho 'no model' >&2\nexit 3\n")
    broken.chmod(0o755)
    assert main([str(tiny_model), str(clip), "--yolo", str(broken)]) == 5
    assert "yolo ended with exit code 3: no model" in capsys.readouterr().err
