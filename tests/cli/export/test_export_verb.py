"""``edgestill export`` through the door."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from distill.checkpoints import native
from distill.models.yolov5 import build, model_spec
from edgestill.cli.main import main

CLASSES = ("red", "green")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run" / "best"
    torch.manual_seed(0)  # how much of a random network goes to bytes is a matter of luck
    model = build("n", len(CLASSES))
    # One anchor of the coarsest level finds a red in every cell, which leaves one box in every image.
    with torch.no_grad():
        model.get_submodule("model.24.m.2").bias.view(3, 5 + len(CLASSES))[2, 4:6] = 20  # type: ignore[operator]
    native.save(folder, model, model_spec(model, CLASSES, (64, 96)), {})
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for folder in ("images", "labels"):
            (tmp_path / folder / split).mkdir(parents=True)
        for i in range(count):
            image = rng.integers(0, 255, (48, 64, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "images" / split / f"{i}.png"), image)
            (tmp_path / "labels" / split / f"{i}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    path = tmp_path / "data.yaml"
    path.write_text("train: images/train\nval: images/val\nnames: [red, green]\n")
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    assert main(["export", *(str(word) for word in words)]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.mark.default_cases("int8-onnx", "fp16-openvino")
@pytest.mark.parametrize("to", ["onnx", "openvino"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_format_in_every_precision(
    to: str, precision: str, trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run(
        capsys, trained, "--to", to, "--precision", precision, "--calib", data, "--out", tmp_path / "out"
    )
    names = {"onnx": [f"run-{precision}.onnx"], "openvino": [f"run-{precision}.xml", f"run-{precision}.bin"]}
    assert [Path(name).name for name in told["files"]] == names[to]
    assert Path(told["manifest"]).exists()


@pytest.mark.parametrize("to", ["onnx", "tensorrt", "tensorrt-rtx"])
def test_bf16_is_refused_for_other_targets_than_openvino(
    to: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(trained), "--to", to, "--precision", "bf16", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "bf16 is for OpenVINO files" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_result_tells_the_comparison_with_the_checkpoint(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run(
        capsys, trained, "--to", "onnx", "--precision", "fp32", "--verify", data, "--out", tmp_path / "out"
    )
    verify = told["verify"]
    assert (verify["reference"], verify["split"], verify["images"]) == ("torch checkpoint", "val", 2)
    assert (verify["failures"], verify["compared_by"]) == ([], ["confident detections"])
    [doubt] = told["doubts"]
    assert doubt.startswith("the comparison has 2 confident detections: 99 are needed")


@pytest.mark.slow
def test_the_calibration_is_told_by_its_size_and_kept_whole_in_the_manifest(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run(
        capsys, trained, "--to", "onnx", "--precision", "int8", "--calib", data, "--out", tmp_path / "out"
    )
    kept = json.loads(Path(told["manifest"]).read_text())["calibration"]
    assert told["calibration"]["images"] == len(kept["images"]) == 3
    assert told["calibration"]["split"] == "train"


def test_the_input_size_can_be_chosen(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--to", "onnx", "--precision", "fp32", "--imgsz", "96x128", "--out", tmp_path / "out")
    assert run(capsys, trained, *words)["input_hw"] == [96, 128]


@pytest.mark.slow
def test_a_chosen_size_is_in_the_name_and_the_own_size_is_not(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--to", "onnx", "--precision", "fp32", "--out", tmp_path / "out")
    sizes = (("--imgsz", "96x128"), ("--imgsz", "32"), ("--dynamic", "size"), ("--dynamic", "batch"))
    told = [run(capsys, trained, *words, *size) for size in sizes]
    assert [Path(one["files"][0]).name for one in told] == [
        "run-96x128-fp32.onnx",
        "run-32x32-fp32.onnx",
        "run-dynamic-size-fp32.onnx",
        "run-fp32.onnx",
    ]
    for one in told:
        assert one["manifest"] == one["files"][0] + ".manifest.json"
        assert main(["inspect", one["files"][0]]) == 0
        assert json.loads(capsys.readouterr().out)["spec"]["input_hw"] == one["input_hw"]
    assert main(["export", str(trained), *map(str, words), "--imgsz", "32x32"]) == 2
    assert "run-32x32-fp32.onnx exists already" in capsys.readouterr().err


@pytest.mark.default_cases("usual", "free-size")
@pytest.mark.parametrize(
    ("words", "layout", "shape"),
    [
        ((), "compact", [1, 756, 6]),
        (("--output", "raw"), "yolov5", [1, 378, 7]),
        (("--dynamic",), "compact", [None, 756, 6]),
        (("--dynamic", "size"), "compact", [1, None, 6]),
    ],
    ids=["usual", "raw", "free-batch", "free-size"],
)
def test_the_output_is_compact_unless_raw_is_asked_for(
    words: tuple[str, ...],
    layout: str,
    shape: list[int | None],
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = run(capsys, trained, "--to", "onnx", "--precision", "fp32", *words, "--out", tmp_path / "out")
    assert told["layout"] == layout
    papers = json.loads(Path(told["manifest"]).read_text())
    assert (papers["spec"]["layout"], papers["outputs"][0]["shape"]) == (layout, shape)


@pytest.mark.slow
def test_a_file_of_free_size_is_run_at_the_size_that_is_asked_for(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--to", "onnx", "--precision", "fp32", "--dynamic", "both", "--out", tmp_path / "out")
    [file] = run(capsys, trained, *words)["files"]
    assert main(["inspect", file]) == 0
    assert json.loads(capsys.readouterr().out)["free"] == ["batch", "height", "width"]
    assert main(["eval", file, "--data", str(data), "--imgsz", "128x160"]) == 0
    assert json.loads(capsys.readouterr().out)["input_hw"] == [128, 160]
    image = str(data.parent / "images" / "val" / "0.png")
    short = ("--duration-s", "0", "--min-samples", "2", "--warmup-s", "0", "--threads", "1")
    assert main(["bench", file, "--source", image, "--imgsz", "96x128", *short]) == 0
    benched = json.loads(capsys.readouterr().out)
    assert benched["models"][0]["input_hw"] == [96, 128]
    assert benched["models"][0]["cold_start_ms"] is not None
    assert "--imgsz 96x128" in benched["command"]
    assert main(["run", file, "--source", image, "--imgsz", "96"]) == 0
    capsys.readouterr()
    assert main(["run", file, "--source", image, "--imgsz", "100"]) == 2
    assert "not HxW in multiples of 32" in capsys.readouterr().err


def test_a_file_that_no_image_was_shown_to_is_doubted(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run(capsys, trained, "--to", "onnx", "--precision", "fp32", "--out", tmp_path / "out")
    assert told["verify"] is None
    assert "was not compared with its source" in told["doubts"][0]


def test_a_file_for_a_jetson_nano_says_what_it_lacks(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ("--to", "onnx", "--precision", "fp32", "--opset", "13", "--verify", data, "--out", out)
    told = run(capsys, trained, *words)
    assert [Path(name).name for name in told["files"]] == ["run-opset13-fp32.onnx"]
    assert told["verify"]["images"] == 2
    assert any("opset 13 is for TensorRT 8.2" in doubt for doubt in told["doubts"])


@pytest.mark.slow
def test_data_of_other_classes_compares_boxes_and_says_so(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.write_text("train: images/train\nval: images/val\nnames: [a, b, c]\n")
    told = run(
        capsys, trained, "--to", "onnx", "--precision", "fp32", "--verify", data, "--out", tmp_path / "out"
    )
    assert told["verify"]["drop_points"] is None
    assert "mAP was not" in told["doubts"][0]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--precision", "int8"), 2, "INT8 needs images to calibrate on"),
        (("--precision", "int4"), 2, "invalid choice: 'int4'"),
        (("--precision", "fp32", "--imgsz", "100x100"), 2, "not HxW in multiples of 32"),
        (("--precision", "fp32", "--verify", "nowhere.yaml"), 3, "nowhere.yaml does not exist"),
        (("--precision", "fp32", "--images", "0"), 2, "leaves nothing to compare on"),
        (("--precision", "fp32", "--imgsz", "0x0"), 2, "not HxW in multiples of 32"),
        (("--precision", "fp32", "--imgsz", "64x0"), 2, "not HxW in multiples of 32"),
        (("--precision", "fp32", "--imgsz", "99999999968"), 2, "in multiples of 32 up to 16384"),
        (("--precision", "fp32", "--imgsz", "9" * 5000), 2, "not HxW in multiples of 32"),
        (("--precision", "fp32", "--split", "val"), 2, "--split val is that of --verify"),
        (("--precision", "fp32", "--batch", "0"), 2, "a batch of 0 is empty"),
        (("--precision", "fp32", "--batch", "2", "--dynamic"), 2, "contradict each other"),
        (("--precision", "fp32", "--dynamic", "width"), 2, "invalid choice: 'width'"),
        (("--precision", "fp32", "--opset", "12"), 2, "argument --opset: invalid choice"),
        (("--precision", "fp16", "--opset", "13"), 2, "TensorRT 8.2, which --opset 13 is for, reads no FP16"),
    ],
)
def test_a_mistake_is_two_lines_and_its_code(
    words: tuple[str, ...],
    code: int,
    message: str,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert main(["export", str(trained), "--to", "onnx", "--out", str(out), *words]) == code
    error = capsys.readouterr().err.splitlines()
    assert message in error[-2]
    assert error[-1].startswith("  hint: ")
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "does not exist"),
        ("data.yaml", "is a file, not a checkpoint"),
        ("images", "is not a checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_a_model_error(
    name: str, message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(data.parent / name), "--to", "onnx", "--precision", "fp32"]) == 4
    assert message in capsys.readouterr().err


def test_a_file_beyond_the_limits_is_not_published(
    trained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgestill.errors import VerificationError

    def refuse(*_: object) -> None:
        raise VerificationError("red became green", hint="keep FP32")

    monkeypatch.setattr("export.verify.source_check.refuse_beyond", refuse)
    words = ("--to", "onnx", "--precision", "fp32", "--verify", data, "--out", tmp_path / "out")
    assert main(["export", str(trained), *map(str, words)]) == 6
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_too_few_labels_cannot_tell_is_a_doubt_of_the_result(
    trained: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("export.verify.gate.doubts", lambda *_: ("too few labels",))
    words = ("--to", "onnx", "--precision", "fp32", "--verify", data, "--out", tmp_path / "out")
    assert main(["export", str(trained), *map(str, words)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert "too few labels" in result["doubts"]
    assert json.loads(Path(result["manifest"]).read_text())["verify"]["doubts"] == ["too few labels"]


def test_calibration_images_that_are_verified_on_are_refused(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.write_text("train: images/train\nval: images/train\nnames: [red, green]\n")
    words = ("--to", "onnx", "--precision", "int8", "--calib", data, "--out", tmp_path / "out")
    assert main(["export", str(trained), *map(str, words)]) == 3
    assert "3 of 3 calibration images are also used for verification" in capsys.readouterr().err
