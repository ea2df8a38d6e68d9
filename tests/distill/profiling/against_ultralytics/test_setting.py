"""Both sides are given the same: images, pair, size, batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill.checkpoints import native
from distill.profiling.against_ultralytics.setting import (
    ComparisonSettings,
    peer_job,
    recipe_text,
    write_images,
    write_teacher,
)
from distill.recipe_toml import load_recipe
from edgestill.dataset import Dataset


@pytest.fixture
def setting(data: Path) -> ComparisonSettings:
    return ComparisonSettings(
        student="yolov5n",
        teacher="yolov5s",
        size=64,
        batch=4,
        epochs=3,
        threads=2,
        classes=("red", "off"),
        data=data,
    )


def test_the_copy_holds_images_from_the_whole_data_set_with_their_labels(data: Path, tmp_path: Path) -> None:
    path, classes = write_images(data, tmp_path / "copy", 4)
    before, copy = Dataset.open(data), Dataset.open(path)
    assert classes == copy.classes == before.classes
    chosen = [before.images("train")[i] for i in (0, 2, 4, 6)]
    assert [image.read_bytes() for image in copy.images("train")] == [i.read_bytes() for i in chosen]
    for ours, theirs in zip(copy.images("train"), chosen, strict=True):
        assert copy.labels(ours).cxcywh.tolist() == before.labels(theirs).cxcywh.tolist()


def test_a_data_set_that_is_smaller_is_taken_whole(data: Path, tmp_path: Path) -> None:
    path, _ = write_images(data, tmp_path / "copy", 1000)
    assert len(Dataset.open(path).images("train")) == len(Dataset.open(data).images("train"))


def test_an_image_without_a_label_file_shows_nothing(data: Path, tmp_path: Path) -> None:
    copy, _ = write_images(data, tmp_path / "copy", 8)
    for label in (copy.parent / "labels" / "train").iterdir():
        label.unlink()
    again, _ = write_images(copy, tmp_path / "again", 8)
    dataset = Dataset.open(again)
    assert all(len(dataset.labels(image)) == 0 for image in dataset.images("train"))


def test_a_class_named_off_stays_a_word(data: Path, tmp_path: Path) -> None:
    named = data.parent / "named.yaml"
    named.write_text("train: images/train\nval: images/val\nnames: {0: red, 1: 'off'}\n")
    path, classes = write_images(named, tmp_path / "copy", 1)
    assert classes == Dataset.open(path).classes == ("red", "off")


def test_our_recipe_is_what_the_package_does(setting: ComparisonSettings, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(recipe_text(setting, tmp_path / 'a "quoted" teacher'))
    recipe = load_recipe(str(file), [], [])
    assert recipe.teacher == str(tmp_path / 'a "quoted" teacher')
    assert (recipe.train_hw, recipe.batch, recipe.epochs, recipe.threads) == ((64, 64), 4, 3, 2)
    assert (recipe.student.model, recipe.student.head) == ("yolov5n", "dfl")
    assert list(recipe.methods) == ["score_l2"]
    assert recipe.methods["score_l2"].config.weight == 6.0
    assert recipe.augment.mosaic == 1
    assert recipe.precision == "auto"


def test_the_package_gets_the_same_and_otherwise_its_defaults(
    setting: ComparisonSettings, tmp_path: Path
) -> None:
    job = peer_job(setting, tmp_path, own_threads=True, bf16=False)
    assert (job["student"], job["teacher"], job["nc"]) == ("yolov5n", "yolov5s", 2)
    assert job["settings"] == {
        "data": str(setting.data),
        "imgsz": 64,
        "batch": 4,
        "epochs": 3,
        "device": "cpu",
        "val": False,
        "plots": False,
        "save": False,
        "close_mosaic": 0,
    }
    assert job["threads"] == 0
    other = peer_job(setting, tmp_path, own_threads=False, bf16=True)
    assert (other["settings"]["amp"], other["threads"]) == ("bf16", 2)


def test_the_teacher_is_a_checkpoint_of_the_same_classes(setting: ComparisonSettings, tmp_path: Path) -> None:
    write_teacher(replace(setting, teacher="yolov5n"), tmp_path / "teacher")
    _, contract, _ = native.load(tmp_path / "teacher")
    assert (contract.name, contract.head, contract.classes) == ("yolov5n", "dfl", ("red", "off"))
