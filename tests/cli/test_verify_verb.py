"""``edgestill verify`` through the door."""

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from edgestill.cli.main import main
from edgestill.cli.verbs import verify


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two images with one red light each where the tiny model finds one."""
    for folder in ("images/val", "labels/val"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("a", "b"):
        image = np.random.default_rng(ord(name)).integers(0, 255, (32, 32, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"images/val/{name}.png"), image)
        (tmp_path / f"labels/val/{name}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    path = tmp_path / "data.yaml"
    path.write_text("path: .\nval: images/val\nnames: [red, green]\n")
    return path


def test_a_file_agrees_with_itself(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tiny_model), str(tiny_model), "--data", str(data)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["images"], result["matched"], result["failures"]) == (2, 2, [])
    assert result["drop_points"] == pytest.approx(0)
    assert (result["drop_low_points"], result["drop_high_points"], result["confidence"]) == (0, 0, 0.9)
    assert result["by_class"]["red"]["labels"] == 2


def test_a_person_reads_every_class_and_every_doubt(
    tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("export.verify.gate.doubts", lambda *_: ("too few labels",))
    assert main(["verify", str(tiny_model), str(tiny_model), "--data", str(data)]) == 0
    shown = io.StringIO()
    Console(file=shown, width=200).print(verify.show(json.loads(capsys.readouterr().out)))
    told = shown.getvalue()
    assert "2 of 2 matched; AP50-95 100.0, 100.0 in B, on 2 labels" in told
    assert "0.00 to 0.00" in told
    assert "too few labels" in told


def test_a_file_that_sees_nothing_fails_with_six_and_still_tells_what_it_saw(
    tiny_model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx")
    blind = onnx.load(tiny_model)
    rows = next(t for t in blind.graph.initializer if t.name == "rows")
    rows.CopyFrom(onnx.numpy_helper.from_array(0 * onnx.numpy_helper.to_array(rows), "rows"))
    onnx.save(blind, tmp_path / "blind.onnx")

    assert main(["verify", str(tiny_model), str(tmp_path / "blind.onnx"), "--data", str(data)]) == 6
    out, err = capsys.readouterr()
    assert json.loads(out)["missed"] == 2
    assert "edgestill verify: " in err
    assert "0 of 2 detections are matched" in err


def test_other_classes_cannot_be_compared(
    tiny_model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx")
    other = onnx.load(tiny_model)
    for prop in other.metadata_props:
        prop.value = prop.value.replace("green", "blue")
    onnx.save(other, tmp_path / "other.onnx")
    assert main(["verify", str(tiny_model), str(tmp_path / "other.onnx"), "--data", str(data)]) == 2
    assert "the classes are red, green and red, blue" in capsys.readouterr().err


def test_a_missing_file_is_a_model_error(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(tiny_model), "gone.onnx", "--data", str(data)]) == 4
    assert "gone.onnx does not exist" in capsys.readouterr().err


def test_comparing_on_no_image_is_no_agreement(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["verify", str(tiny_model), str(tiny_model), "--data", str(data), "--images", "0"]
    assert main(words) == 2
    assert "the limit is 0 images" in capsys.readouterr().err
