"""A model and a data set whose class names hold other scripts, brackets and signs, through the verbs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import yaml

from edgestill.cli.main import main
from edgestill.dataset import read_image
from edgestill.spec import ModelSpec

#: The model always finds the first class.
NAMES = [
    ("红灯", "إشارة"),
    ("[red]", "[/red]"),
    ("a/b:c", "a\\b"),
    ("<b>x</b>", "_x $y$"),
    ("🚦", "x" * 250),
    ("..", "{0} %s"),
]


@pytest.fixture(params=NAMES, ids=[first for first, _ in NAMES])
def odd(request: Any, tiny_model: Path, tmp_path: Path) -> tuple[Path, Path, str]:
    """The tiny model with other class names, a data set of them with one right label, and the first name."""
    model = onnx.load(tiny_model)
    spec = ModelSpec(name="tiny", input_hw=(32, 32), classes=request.param)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, spec.to_metadata())
    onnx.save(model, tmp_path / "odd.onnx")
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "images/a.jpg"), np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    data = {"val": "images", "names": list(request.param)}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(data, allow_unicode=True), "utf-8")
    return tmp_path / "odd.onnx", tmp_path / "data.yaml", request.param[0]


def test_run_draws_saves_and_names_it(
    odd: tuple[Path, Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data, name = odd
    words = ["run", str(model), "--source", str(data.parent / "images"), "--classes", name, "--track"]
    saved = [
        "--save",
        str(tmp_path / "o"),
        "--save-crops",
        str(tmp_path / "c"),
        "--save-txt",
        str(tmp_path / "t"),
    ]
    assert main([*words, *saved]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["detections"] == {name: 1}
    assert result["boxes"][0]["class"] == name
    assert read_image(tmp_path / "o/a.jpg").any()
    (crop,) = (tmp_path / "c").rglob("*.jpg")
    assert crop.parent.parent == tmp_path / "c"
    assert (tmp_path / "t/a.txt").read_text().startswith("0 ")


@pytest.mark.default_cases("\\u7ea2\\u706f", "[red]", "<b>x</b>")
def test_tables_show_the_name(
    odd: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data, name = odd
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "700")
    assert main(["run", str(model), "--source", str(data.parent / "images")]) == 0
    assert f"1 {name}" in capsys.readouterr().out
    assert main(["eval", str(model), "--data", str(data)]) == 0
    assert capsys.readouterr().out.count(name) >= 3  # scores, and row and column of the confusions
    assert main(["inspect", str(model)]) == 0
    assert main(["verify", str(model), str(model), "--data", str(data)]) in {0, 6}  # one image is few
    assert name in capsys.readouterr().out


@pytest.mark.default_cases("\\u7ea2\\u706f", "<b>x</b>")
def test_eval_and_its_report_hold_the_name(
    odd: tuple[Path, Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data, name = odd
    assert main(["eval", str(model), "--data", str(data)]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)["per_class"][name]["ap50"] == 1.0
    (tmp_path / "eval.json").write_text(text, "utf-8")
    assert main(["report", str(tmp_path / "eval.json"), "--out", str(tmp_path / "r.html")]) == 0
    assert "<b>x" not in (tmp_path / "r.html").read_text("utf-8")


@pytest.mark.default_cases("\\U0001f6a6")
def test_plots_of_the_data_set_are_drawn(odd: tuple[Path, Path, str], tmp_path: Path) -> None:
    _, data, _ = odd
    assert main(["data", "plots", str(data), "--out", str(tmp_path / "plots")]) == 0
    assert len(list((tmp_path / "plots").iterdir())) == 3
