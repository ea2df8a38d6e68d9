"""The names that a program embeds: their arguments, their errors, and the examples in their docstrings."""

import doctest
import inspect
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgestill
from edgestill.cli.main import main
from edgestill.errors import DeviceError, ToolchainError
from edgestill.installation import pip_command
from runtime import detector, frames, pipeline
from runtime.streams import watcher


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with ``model.onnx`` and ``street.png``."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny_model, "model.onnx")
    cv2.imwrite("street.png", np.zeros((32, 32, 3), np.uint8))
    return tmp_path


@pytest.mark.parametrize(
    "documented",
    [
        pytest.param(edgestill.open_detector, id="edgestill.open_detector"),
        pytest.param(edgestill.watch, id="watch"),
        pytest.param(detector.open_detector, id="runtime.detector.open_detector"),
        pytest.param(detector.ModelDetector, id="ModelDetector"),
        pytest.param(frames.open_source, id="open_source"),
    ],
)
def test_the_example_in_the_docstring_runs(documented: Any, folder: Path) -> None:
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    (found,) = finder.find(documented, "example", globs={})
    assert found.examples
    report: list[str] = []
    runner.run(found, out=report.append)
    assert runner.failures == 0, "".join(report)


def test_the_embedded_names_are_those_of_the_runtime() -> None:
    assert edgestill.Detector is detector.Detector
    assert edgestill.open_source is frames.open_source
    assert edgestill.Watcher is watcher.Watcher
    assert edgestill.FrameResult is pipeline.FrameResult


def test_both_open_a_detector_with_the_same_options() -> None:
    ours, theirs = (
        list(inspect.signature(f).parameters.values())[1:]
        for f in (edgestill.open_detector, detector.open_detector)
    )
    assert ours == theirs


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("open_detector", [edgestill.open_detector, detector.open_detector])
def test_a_path_may_be_text(open_detector: Callable[..., Any], kind: type, folder: Path) -> None:
    found = open_detector(kind("model.onnx"), threads=1)
    (frame,) = edgestill.open_source(kind("street.png")).frames()
    assert found(frame.image_bgr).class_id.tolist() == [0]
    found.close()


def test_an_option_reaches_the_detector(folder: Path) -> None:
    opened = edgestill.open_detector("model.onnx", conf=0.9, iou=0.3, multi_label=True, threads=1)
    assert (opened.conf, opened.iou, opened.multi_label) == (0.9, 0.3, True)
    opened.close()


@pytest.mark.parametrize("name", ["no.onnx", "street.png", "legacy.pt", "empty"])
def test_a_wrong_model_has_the_error_of_the_command_line(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(ToolchainError) as caught:
        edgestill.open_detector(name)
    assert main(["run", name, "--source", "street.png"]) == caught.value.exit_code
    assert capsys.readouterr().err == f"edgestill run: {caught.value}\n"


@pytest.mark.parametrize("text", ["no.png", "99", "nosuch://x"])
def test_a_wrong_source_has_the_error_of_the_command_line(
    text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ToolchainError) as caught:
        edgestill.open_source(text)
    assert main(["run", "model.onnx", "--source", text]) == caught.value.exit_code
    assert capsys.readouterr().err == f"edgestill run: {caught.value}\n"


def test_without_opencv_a_program_gets_the_error_of_the_command_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    for name in ("runtime.detector", "runtime.letterbox"):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(DeviceError, match="edgestill needs 'cv2', which is not installed") as caught:
        edgestill.open_detector("model.onnx")
    assert caught.value.hint.startswith(pip_command("opencv"))
