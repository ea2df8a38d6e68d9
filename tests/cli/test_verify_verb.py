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
from edgestill.spec import SPEC_KEY


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


def changed(tiny_model: Path, path: Path, *, rows: float = 1.0, **spec: object) -> Path:
    """The tiny model with its scores multiplied, and other fields in its spec."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(tiny_model)
    tensor = next(t for t in model.graph.initializer if t.name == "rows")
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[..., 4] *= rows
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, "rows"))
    for prop in model.metadata_props:
        if prop.key == SPEC_KEY:
            prop.value = json.dumps({**json.loads(prop.value), **spec})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("labels", ["none", "elsewhere", "of other classes"])
def test_models_that_are_sure_of_nothing_prove_nothing(
    labels: str, tiny_model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (data.parent / "labels" / "val").iterdir():
        path.write_text("" if labels == "none" else "1 0.1 0.1 0.1 0.1\n")
    if labels == "of other classes":
        data.write_text("path: .\nval: images/val\nnames: [dog, cat]\n")
    weak, blind = (changed(tiny_model, tmp_path / f"{x}.onnx", rows=x) for x in (0.5, 0.0))
    for other in (weak, blind):
        assert main(["verify", str(weak), str(other), "--data", str(data)]) == 6
        out, err = capsys.readouterr()
        assert json.loads(out)["compared_by"] == []
        assert "nothing was compared" in json.loads(out)["failures"][0]
        assert err.splitlines()[-1].startswith("  hint: compare on images with objects")


def test_few_detections_and_one_file_twice_are_doubted(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(tiny_model), str(tiny_model), "--data", str(data)]) == 0
    doubts = json.loads(capsys.readouterr().out)["doubts"]
    assert [doubt.split(":")[0] for doubt in doubts] == [
        "the comparison has 2 confident detections",
        "A and B have the same content",
    ]


def test_another_input_size_is_named_whether_or_not_the_files_agree(
    tiny_model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx")
    for name, rows, code in (("same", 1.0, 0), ("blind", 0.0, 6)):
        other = changed(tiny_model, tmp_path / f"{name}.onnx", rows=rows, input_hw=[64, 32])
        model = onnx.load(other)
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 64
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value *= 2
        for tensor in model.graph.initializer:
            if tensor.name in {"w", "rows"}:  # one convolution of the whole image, one row for each box
                values, axis = onnx.numpy_helper.to_array(tensor), 2 if tensor.name == "w" else 1
                twice = np.concatenate((values, 0 * values), axis=axis)
                twice[0, 0, 1] += 16 if axis == 1 else 0  # the border above the image
                tensor.CopyFrom(onnx.numpy_helper.from_array(twice, tensor.name))
        onnx.save(model, other)
        assert main(["verify", str(tiny_model), str(other), "--data", str(data)]) == code
        out, err = capsys.readouterr()
        assert json.loads(out)["input_hw"] == {"reference": [32, 32], "candidate": [64, 32]}
        assert json.loads(out)["doubts"][0].startswith("the input sizes differ, 32x32 and 64x32")
        assert code == 0 or "hint: compare files of one input size" in err


def test_another_padding_is_named(
    tiny_model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = changed(tiny_model, tmp_path / "other.onnx", pad_value=0)
    assert main(["verify", str(tiny_model), str(other), "--data", str(data)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["input_hw"] == {"reference": [32, 32], "candidate": [32, 32]}
    assert result["doubts"][0] == "the pre-processing differs: pad_value is 114 and 0"


@pytest.mark.parametrize("content", ["{}", "[]", '"student"', "3"])
def test_json_is_neither_a_model_nor_data(
    content: str, tiny_model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(content)
    for pair in ([wrong, tiny_model], [tiny_model, wrong]):
        assert main(["verify", *map(str, pair), "--data", str(data)]) == 4
        error = capsys.readouterr().err
        assert "wrong.json" in error
        assert error.count("\n") == 2
    assert main(["verify", str(tiny_model), str(tiny_model), "--data", str(wrong)]) == 3
    assert "wrong.json" in capsys.readouterr().err
