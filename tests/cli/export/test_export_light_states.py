"""``edgestill export light-states`` through the door, and the verbs that take what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from edgestill.cli.main import main
from edgestill.shipped import SHIPPED

FILE = SHIPPED / "light-states.onnx"


@pytest.fixture
def data(tmp_path: Path, draw_light: Callable[[int], Any]) -> Path:
    for folder in ("images", "labels"):
        (tmp_path / folder / "val").mkdir(parents=True)
    for i in range(3):
        cv2.imwrite(str(tmp_path / "images" / "val" / f"{i}.png"), draw_light(i))
        (tmp_path / "labels" / "val" / f"{i}.txt").write_text("0 0.5 0.4 0.1 0.4\n1 0.4 0.4 0.1 0.4\n")
    path = tmp_path / "data.yaml"
    path.write_text("val: images/val\nnames: [red, yellow, green, off]\n")
    return path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def run(*words: object) -> Any:
        assert main([str(word) for word in words]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs what must end with an exit code and two lines, which it gives."""

    def run(code: int, *words: object) -> str:
        assert main([str(word) for word in words]) == code
        error = capsys.readouterr().err
        last = error[error.index(f"edgestill {words[0]}: ") :]
        assert last.count("\n") == 2
        return last

    return run


@pytest.mark.slow
def test_the_result_has_the_keys_of_every_export(
    data: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    told = call(
        *("export", "light-states", "--to", "openvino", "--precision", "fp16"),
        *("--verify", data, "--out", tmp_path / "out"),
    )
    assert [Path(name).name for name in told["files"]] == ["light-states-fp16.xml", "light-states-fp16.bin"]
    assert (told["layout"], told["input_hw"], told["calibration"]) == ("probabilities", [40, 20], None)
    assert told["precision_proved"]["stored"] == {"float16": 14268}
    assert (told["verify"]["images"], told["verify"]["lights"]) == (3, 6)
    assert told["verify"]["difference_max"] < 0.01
    assert told["doubts"][0].startswith("the comparison has 6 lights: 99 are needed")
    manifest = json.loads(Path(told["manifest"]).read_text())
    assert manifest["verify"] == told["verify"]
    detector = call(
        *("export", "student", "--to", "onnx", "--precision", "fp32", "--imgsz", "64x96"),
        *("--out", tmp_path / "out"),
    )
    assert list(told) == list(detector)


def test_a_file_that_was_not_compared_is_in_doubt(tmp_path: Path, call: Callable[..., Any]) -> None:
    told = call(
        "export", "light-states", "--to", "onnx", "--precision", "fp16", "--out", tmp_path, "--name", "x"
    )
    assert told["files"] == [str(tmp_path / "x.onnx")]
    assert told["doubts"] == ["the file was not compared with its source on images: add --verify DATA.yaml"]


def test_a_table_shows_the_comparison(data: Path, tmp_path: Path) -> None:
    from io import StringIO

    from rich.console import Console

    from edgestill.cli.main import call as result_of
    from edgestill.cli.verbs import export

    words = ["export", "light-states", "--to", "onnx", "--precision", "fp32", "--verify", str(data)]
    out = StringIO()
    Console(file=out, width=200).print(export.show(result_of([*words, "--out", str(tmp_path / "out")])))
    shown = " ".join(out.getvalue().split())
    assert "lights 6" in shown.replace("\u2502", "").replace("  ", " ")
    assert "largest difference of a probability" in shown


def test_a_classifier_of_ones_own_is_exported_by_its_file(tmp_path: Path, call: Callable[..., Any]) -> None:
    model = onnx.load(FILE)
    model.doc_string = "trained again"
    onnx.save(model, tmp_path / "mine.onnx")
    told = call(
        *(
            "export",
            tmp_path / "mine.onnx",
            "--to",
            "openvino",
            "--precision",
            "fp32",
            "--out",
            tmp_path / "out",
        )
    )
    assert Path(told["files"][0]).name == "mine-fp32.xml"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--precision", "int8"), "no INT8 for the classifier"),
        (("--precision", "fp16", "--imgsz", "64"), "--imgsz: not for the classifier"),
        (("--precision", "fp16", "--batch", "4", "--dynamic", "size"), "--batch, --dynamic: not for"),
        (("--precision", "fp16", "--output", "raw", "--input", "uint8"), "--output, --input: not for"),
        (("--precision", "fp16", "--calib", "data.yaml"), "--calib: not for"),
        (("--precision", "fp16", "--repair", "--max-drop", "1"), "--max-drop, --repair: not for"),
        (("--precision", "fp16", "--recalibrate", "data.yaml"), "--recalibrate: not for"),
        (("--precision", "fp16", "--dla", "0"), "--dla: not for"),
        (("--precision", "fp16", "--profile-size", "32x32,64x64,96x96"), "--profile-size: not for"),
        (("--precision", "fp16", "--profile-batch", "1,2,3"), "--profile-batch: only for engines"),
        (("--precision", "fp16", "--split", "test"), "no images to compare on"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: tuple[str, ...], said: str, tmp_path: Path, refuse: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    assert said in refuse(2, "export", "light-states", "--to", "onnx", *words, "--out", out)
    assert not out.exists()


def test_bf16_is_for_detectors_only(tmp_path: Path, refuse: Callable[..., str]) -> None:
    words = ("light-states", "--to", "openvino", "--precision", "bf16", "--out", tmp_path / "out")
    assert "no bf16 for the classifier" in refuse(2, "export", *words)


def test_labels_without_states_are_a_data_error(
    data: Path, tmp_path: Path, refuse: Callable[..., str]
) -> None:
    data.write_text("val: images/val\nnames: [car, person, dog, cat]\n")
    words = ("--to", "onnx", "--precision", "fp16", "--verify", data, "--out", tmp_path / "out")
    assert "none is a state of a light" in refuse(3, "export", "light-states", *words)


def test_a_file_that_says_something_else_is_not_published(
    data: Path, tmp_path: Path, refuse: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from export.light_state_file import LightStateJob
    from export.quantize.variant import Variant

    def upside_down(job: LightStateJob) -> Variant:
        model = onnx.load(job.source)
        for tensor in model.graph.initializer:
            if tensor.name == "logits.weight":
                turned = onnx.numpy_helper.to_array(tensor)[::-1]
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(turned), tensor.name))
        return Variant(model)

    monkeypatch.setattr(LightStateJob, "variant", upside_down)
    words = ("--to", "openvino", "--precision", "fp16", "--verify", data, "--out", tmp_path / "out")
    assert "light-states-fp16.xml was not published: a probability differs" in refuse(
        6, "export", "light-states", *words
    )
    assert not (tmp_path / "out").exists()


def test_run_takes_the_file_and_inspect_says_what_it_is(
    data: Path, tmp_path: Path, call: Callable[..., Any], refuse: Callable[..., str]
) -> None:
    made = call("export", "light-states", "--to", "openvino", "--precision", "fp16", "--out", tmp_path)
    file, image = made["files"][0], data.parent / "images" / "val" / "0.png"
    told = call("inspect", file)
    assert told["network"] == "classifier of light states"
    assert told["spec"]["classes"] == ["red", "yellow", "green", "off", "unknown"]
    assert told["free"] == ["batch"]
    assert told["manifest"]["precision"] == "fp16"
    assert call("inspect", "light-states")["elements_stored"] == {"float32": 14268}

    def lights(*words: object) -> Any:
        return call("run", "student", "--source", image, "--conf", "0.05", "--lights", *words)["boxes"]

    assert lights("--backend", "ort", "--threads", "1") == lights("light-states") == lights(file)
    assert f"{file} is a classifier of light states, not a detector" in refuse(
        4, "run", file, "--source", image
    )
    assert "is a classifier of light states" in refuse(4, "eval", "light-states", "--data", data)
    assert "did you mean 'light-states'?" in refuse(
        4, "run", "student", "--source", image, "--lights", "light-state"
    )


def test_a_word_behind_lights_is_its_file(refuse: Callable[..., str]) -> None:
    error = refuse(2, "run", "--lights", "student", "--source", "0")
    assert "MODEL" in error
    assert "the word behind --lights was taken as its value: put --lights last" in error
    assert "edgestill run --help" in refuse(2, "run", "--source", "0", "--lights")


def test_a_detector_is_no_classifier(data: Path, tiny_model: Path, refuse: Callable[..., str]) -> None:
    image = data.parent / "images" / "val" / "0.png"
    error = refuse(4, "run", "student", "--source", image, "--lights", tiny_model)
    assert "it is not a classifier of light states" in error


@pytest.mark.slow
def test_an_engine_for_lights_needs_its_manifest(
    data: Path,
    tmp_path: Path,
    on_gpu: Callable[..., Any],
    call: Callable[..., Any],
    refuse: Callable[..., str],
) -> None:
    on_gpu("10.3.0")
    made = call(
        *("export", "light-states", "--to", "tensorrt", "--precision", "fp16", "--profile-batch", "1,2,4"),
        *("--verify", data, "--out", tmp_path / "out"),
    )
    engine, image = made["files"][0], data.parent / "images" / "val" / "0.png"
    assert made["unproved"] == {}
    assert json.loads(Path(made["manifest"]).read_text())["built_on"]["profile"][2] == [4, 3, 40, 20]
    assert call("inspect", engine)["network"] == "classifier of light states"
    words = ("run", "student", "--source", image, "--conf", "0.05", "--lights")
    assert call(*words, engine)["boxes"] == call(*words)["boxes"]
    assert "is a classifier of light states, not a detector" in refuse(4, "run", engine, "--source", image)
    Path(made["manifest"]).unlink()
    assert "native code without a manifest" in refuse(4, *words, engine)
    assert call(*words, engine, "--trust-engine")["boxes"]
