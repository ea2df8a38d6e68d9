"""Bad input gets two lines and its exit code, and nothing is written."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.cli.main import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One image with one red light, as a data set of two classes."""
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "images/train/a.jpg"), image)
    (tmp_path / "labels/train/a.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    path = tmp_path / "data.yaml"
    path.write_text("path: .\ntrain: images/train\nval: images/train\nnames: [red, green]\n")
    return path


def refused(words: list[object], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """The error of a command that must end with ``code``, after checking its form."""
    assert main([str(word) for word in words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    lines = err.splitlines()[-2:]  # progress may stand before
    assert lines[0].startswith(f"edgestill {words[0]}: ")
    assert lines[1].startswith("  hint: ")
    assert len(lines[1]) > len("  hint: ")
    return lines[0]


def test_a_missing_model(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "gone.onnx does not exist" in refused(["eval", "gone.onnx", "--data", data], 4, capsys)


def test_a_missing_data_set(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "gone.yaml does not exist" in refused(["eval", tiny_model, "--data", "gone.yaml"], 3, capsys)


def test_a_missing_source(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "gone.png" in refused(["run", tiny_model, "--source", "gone.png"], 3, capsys)


def test_a_truncated_image(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = data.parent / "images/train/a.jpg"
    image.write_bytes(image.read_bytes()[:-200])
    assert "a.jpg is truncated" in refused(["eval", tiny_model, "--data", data], 3, capsys)
    assert "a.jpg is truncated" in refused(["run", tiny_model, "--source", image], 3, capsys)


def test_a_label_with_six_columns(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data.parent / "labels/train/a.txt").write_text("0 0.5 0.5 0.25 0.5 0.9\n")
    assert "a.txt:1 has 6 columns, expected 5" in refused(["eval", tiny_model, "--data", data], 3, capsys)
    out = data.parent / "run"
    words = ["distill", "traffic-lights", "--data", data, "--set", "methods={}", "--out", out]
    assert "a.txt:1 has 6 columns, expected 5" in refused(words, 3, capsys)
    assert not (out / "last").exists()


def test_an_onnx_that_is_not_ours(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    ends = [make.make_tensor_value_info(name, kind, [1, 3, 8, 8]) for name in ("x", "y")]
    graph = make.make_graph([make.make_node("Relu", ["x"], ["y"])], "relu", ends[:1], ends[1:])
    path = tmp_path / "relu.onnx"
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), path)
    what = refused(["eval", path, "--data", data], 4, capsys)
    assert "neither an edgestill spec nor the class names of a detector" in what


@pytest.mark.parametrize(
    "words",
    [
        ("data", "synth", "--images", "3", "--out"),
        ("demo", "--out"),
        ("data", "clip", "--seconds", "1", "--out"),
    ],
    ids=["synth", "demo", "clip"],
)
def test_an_output_below_a_file(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    assert str(file) in refused([*words, file / "out.mp4"], 2, capsys)
    assert file.read_text() == "mine"


def test_a_file_that_is_no_onnx_at_all(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("this is not a model")
    refused(["eval", path, "--data", data], 4, capsys)


def test_a_wrong_class_count(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.write_text(data.read_text().replace("[red, green]", "[red, green, blue]"))
    what = refused(["eval", tiny_model, "--data", data], 3, capsys)
    assert "the model has 2 classes" in what
    assert "has 3" in what


def test_a_class_count_that_contradicts_the_names(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.write_text(data.read_text() + "nc: 4\n")
    assert "says nc: 4 and names 2 classes" in refused(["eval", tiny_model, "--data", data], 3, capsys)


def test_an_unknown_flag(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(["run", tiny_model, "--source", "x.png", "--tack"], 2, capsys)


def test_an_unknown_backend(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    what = refused(["eval", tiny_model, "--data", data, "--backend", "coreml"], 2, capsys)
    assert "no backend is called 'coreml'" in what


def test_a_split_that_is_not_there(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(["eval", tiny_model, "--data", data, "--split", "test"], 2, capsys)


def test_a_demo_is_not_written_over_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")
    assert "was not written by a demo" in refused(["demo", "--out", tmp_path, "--force"], 2, capsys)
    assert (tmp_path / "thesis.txt").exists()
