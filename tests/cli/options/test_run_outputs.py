"""``edgestill run --classes``, ``--save-crops``, ``--save-txt``, and the table of a single image."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgestill.cli.main import main
from edgestill.cli.options.classes import chosen
from edgestill.dataset import read_labels
from edgestill.errors import UsageError


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "street.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), np.full((64, 64, 3), 90, np.uint8))
    return path


@pytest.fixture
def run(tiny_model: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the verb on the tiny model, which finds a red light in every image; exit code, stdout, stderr."""

    def call(*flags: object, source: Path = image) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["run", str(tiny_model), "--source", str(source), *map(str, flags)])
        return code, *capsys.readouterr()

    return call


@pytest.mark.parametrize(("text", "found"), [("red", 1), ("0", 1), ("RED, green", 1), ("green", 0), ("1", 0)])
def test_only_the_chosen_classes_are_found(run: Any, text: str, found: int) -> None:
    result = json.loads(run("--classes", text, "--track")[1])
    assert sum(result["detections"].values()) == found == len(result["boxes"])


def test_an_unknown_class_is_named_with_all_that_there_are(run: Any) -> None:
    code, out, err = run("--classes", "red,gren")
    assert (code, out) == (2, "")
    assert err.endswith(
        "the model has no class 'gren'\n  hint: did you mean 'green'? classes of the model: red, green\n"
    )


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("traffic light, red", {0}),
        ("1", {2}),
        ("2", {2}),
        ("Off,traffic light", {1, 3}),
        (None, None),
    ],
)
def test_names_win_over_ids_and_may_hold_commas(text: str | None, ids: set[int] | None) -> None:
    assert chosen(text, ["traffic light, red", "traffic light", "1", "off"]) == ids


@pytest.mark.parametrize("text", ["9", "-1", "", ",", "car"])
def test_no_class_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        chosen(text, ["red", "green"])
    assert "classes of the model: red, green" in raised.value.hint


def test_labels_and_crops_are_written_and_counted(run: Any, tmp_path: Path) -> None:
    result = json.loads(run("--save-txt", tmp_path / "t", "--save-crops", tmp_path / "c")[1])
    assert result["label_files"] == {"folder": str(tmp_path / "t"), "files": 1}
    assert result["crops"] == {"folder": str(tmp_path / "c"), "files": 1}
    assert len(read_labels(tmp_path / "t/street.txt", nc=2)) == 1
    assert [p.name for p in (tmp_path / "c/red").iterdir()] == ["street_000000_0.jpg"]


def test_classes_that_are_left_out_are_not_saved(run: Any, tmp_path: Path) -> None:
    result = json.loads(run("--save-txt", tmp_path / "t", "--save-crops", tmp_path / "c", "--classes", 1)[1])
    assert result["crops"]["files"] == 0
    assert (tmp_path / "t/street.txt").read_text() == ""


def test_nothing_is_overwritten_without_force(run: Any, tmp_path: Path) -> None:
    flags = ("--save-txt", tmp_path / "t", "--save-crops", tmp_path / "c")
    assert [run(*flags)[0], run(*flags)[0], run(*flags, "--force")[0]] == [0, 2, 0]


def test_json_lines_name_the_folders_on_stderr(run: Any, tmp_path: Path) -> None:
    _, out, err = run("--save-txt", tmp_path / "t", "--json-lines")
    assert len(out.splitlines()) == 1
    assert f"1 files in {tmp_path / 't'}" in err


def test_the_score_without_label_files_is_a_usage_error(run: Any) -> None:
    assert run("--save-conf")[0] == 2


def test_a_single_image_shows_its_boxes_and_the_name_of_the_model(
    run: Any, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    out = run()[1]
    assert f"{tiny_model} on " in out
    assert "1 detection" in out
    row = next(line for line in out.splitlines() if "24.0" in line)
    assert [word for word in row.split() if word != "│"] == ["red", "0.81", "24.0", "16.0", "40.0", "48.0"]


def test_several_images_show_no_boxes(run: Any, image: Path) -> None:
    (image.parent / "b.png").write_bytes(image.read_bytes())
    assert json.loads(run(source=image.parent)[1])["boxes"] is None
