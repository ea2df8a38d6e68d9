"""The ``data.yaml`` that is written opens here and in the ultralytics package, wherever it lies."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from distill.datasets.data_yaml import write_data_yaml
from distill.datasets.formats._class_map import load_class_map
from distill.datasets.synth.write import write_dataset
from edgestill.dataset import Dataset

NAMES = (
    *(
        "yes",
        "No",
        "on",
        "off",
        "null",
        "~",
        "true",
        "7",
        "1.0",
        "1e3",
        "0x1F",
        "1:30",
        "2020-01-01",
        "=",
        "<<",
    ),
    *(
        "traffic light: red",
        "it's",
        'the "stop"',
        "a # b",
        "- a",
        "[a]",
        "{a}",
        "*",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a`",
    ),
    *(
        "信号",
        "Fußgänger",
        "إشارة",
        "светофор",
        "🚦",
        "a\\b",
        "a, b",
        "word " * 40 + "end",
        "None",
        "x\ufeffy",
    ),
)


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """The package's own reader, without its download of fonts."""
    utils = pytest.importorskip("ultralytics.data.utils")
    monkeypatch.setattr(utils, "check_font", lambda *_: None)
    return utils.check_det_dataset  # type: ignore[no-any-return]


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "scenes", 4, 0, size_wh=(64, 64), workers=1).data_yaml


@pytest.mark.parametrize("where", ["elsewhere", "scenes", "."])
def test_a_rendered_set_opens_in_the_package_from_any_folder(
    scenes: Path, tmp_path: Path, check: Any, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / where)
    found = check(str(scenes))
    for split in ("train", "val", "test"):
        assert Path(found[split]) == scenes.parent / "images" / split


def test_a_relative_path_opens_too(scenes: Path, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, name in ((scenes.parent, "data.yaml"), (scenes.parent.parent, "scenes/data.yaml")):
        monkeypatch.chdir(folder)
        assert Path(check(name)["val"]) == scenes.parent / "images" / "val"


def test_a_set_that_was_moved_opens_in_both(
    scenes: Path, tmp_path: Path, check: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "other disk" / "moved"
    moved.parent.mkdir()
    shutil.move(scenes.parent, moved)
    monkeypatch.chdir(tmp_path)
    assert Path(check(str(moved / "data.yaml"))["val"]) == moved / "images" / "val"
    assert Dataset.open(moved / "data.yaml").images("val") == [moved / "images" / "val" / "scene_000002.jpg"]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_set_of_one_split_opens_in_both(tmp_path: Path, check: Any, split: str) -> None:
    folder = tmp_path / "images" / split
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), np.zeros((8, 8, 3), np.uint8))
    write_data_yaml(tmp_path / "data.yaml", [split], ["light"])
    assert Path(check(str(tmp_path / "data.yaml"))[split]) == folder
    assert set(Dataset.open(tmp_path / "data.yaml").splits) == {split}


def test_class_names_survive_in_both(tmp_path: Path, check: Any) -> None:
    (tmp_path / "images" / "val").mkdir(parents=True)
    write_data_yaml(tmp_path / "data.yaml", ["val"], NAMES)
    assert Dataset.open(tmp_path / "data.yaml").classes == NAMES
    assert tuple(check(str(tmp_path / "data.yaml"))["names"].values()) == NAMES


def test_names_of_a_class_map_survive(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('names = ["no", "1"]\n[voc]\nby = "name"\nclasses = { a = "no", b = "1" }\n', "utf-8")
    write_data_yaml(tmp_path / "data.yaml", ["train"], load_class_map(str(own)).classes)
    assert Dataset.open(tmp_path / "data.yaml").classes == ("no", "1")
