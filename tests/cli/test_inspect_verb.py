"""``edgestill inspect`` through the door."""

import json
from pathlib import Path

import pytest

from distill import checkpoint
from distill.models.yolov5 import build, spec
from edgestill.cli.main import main
from edgestill.files import sha256_file
from edgestill.manifest import Manifest, write_manifest
from runtime.detector import open_detector


def test_a_model_file_tells_its_spec_tensors_hash_and_layers(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tiny_model)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["spec"]["classes"] == ["red", "green"]
    assert told["inputs"][0]["shape"] == [1, 3, 32, 32]
    assert told["sha256"] == sha256_file(tiny_model)
    assert told["layers_executed"] == {"float32": 1}
    assert told["manifest"] is None


def test_a_file_that_is_not_what_its_manifest_says_is_refused(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(tiny_model.read_bytes())
    manifest = Manifest(
        spec=open_detector(path).spec,
        format="onnx",
        files={path.name: sha256_file(path)},
        precision="fp32",
        precision_proved={"executed": {"float32": 1}},
        inputs=(),
        outputs=(),
        built_with={},
        parent_sha256="",
    )
    write_manifest(path, manifest)
    assert main(["inspect", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["precision"] == "fp32"

    path.write_bytes(path.read_bytes() + b"\x22\x00")  # valid, but not what was hashed
    assert main(["inspect", str(path)]) == 4
    assert "not the file that its manifest describes" in capsys.readouterr().err


def test_a_checkpoint_tells_its_spec_and_its_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build("n", 2)
    checkpoint.save(tmp_path / "best", model, spec(model, ("red", "green"), (64, 96)), {"note": "fresh"})
    assert main(["inspect", str(tmp_path / "best")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parameters"] == 1_766_623  # of yolov5n with two classes
    assert told["about"] == {"note": "fresh"}


def test_what_is_no_model_is_a_model_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.onnx").write_text("not a model")
    assert main(["inspect", str(tmp_path / "x.onnx")]) == 4
    assert capsys.readouterr().out == ""
