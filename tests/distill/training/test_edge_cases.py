"""Data that a careless loop would stumble over: nothing to see, one of anything, less than a cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from distill.checkpoints import native
from distill.recipe import Recipe
from distill.train import train
from edgestill.errors import DataError, UsageError

Rows = Sequence[tuple[int, float, float, float, float]]
MIDDLE: Rows = [(0, 0.5, 0.5, 0.3, 0.4)]


@pytest.fixture
def small(plain: Recipe, tmp_path: Path) -> Recipe:
    """One epoch without a teacher on ``tmp_path/data.yaml``."""
    return replace(plain, data=(str(tmp_path / "data.yaml"),), train_hw=(64, 64), input_hw=(64, 96))


def write(
    root: Path,
    splits: dict[str, Sequence[Rows]],
    *,
    names: str = "red, green",
    hw: tuple[int, int] = (60, 90),
) -> None:
    """A data set: for each split the boxes of each of its images."""
    for split, images in splits.items():
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for i, rows in enumerate(images):
            image = np.random.default_rng(i).integers(0, 255, (*hw, 3), np.uint8)
            cv2.imwrite(str(root / f"images/{split}/{i}.png"), image)
            text = "".join(" ".join(map(str, row)) + "\n" for row in rows)
            (root / f"labels/{split}/{i}.txt").write_text(text)
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: [{names}]\n")


def test_an_epoch_without_any_object_trains(small: Recipe, tmp_path: Path) -> None:
    write(tmp_path, {"train": [[], []], "val": [[]]})
    result = train(small, tmp_path / "run")
    assert (result["map50"], result["map50_95"]) == (None, None)
    assert {Path(path).name for path in result["pictures"].values()} <= {
        p.name for p in (tmp_path / "run").iterdir()
    }


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_an_epoch_without_any_object_is_distilled(small: Recipe, recipe: Recipe, tmp_path: Path) -> None:
    write(tmp_path, {"train": [[], []], "val": [[]]})
    teacher_outputs = replace(small, teacher=recipe.teacher, methods=recipe.methods, batch=2)
    assert train(teacher_outputs, tmp_path / "run")["map50"] is None


@pytest.mark.slow
def test_a_class_that_never_occurs_has_no_score_and_no_part_in_the_mean(
    small: Recipe, tmp_path: Path
) -> None:
    write(tmp_path, {"train": [MIDDLE, MIDDLE], "val": [MIDDLE]}, names="red, green, blue")
    result = train(small, tmp_path / "run")
    scores = result["per_class"]
    assert scores["green"] == scores["blue"] == {"ap50": None, "ap50_95": None, "labels": 0}
    assert result["map50"] == scores["red"]["ap50"] is not None


@pytest.mark.slow
def test_one_class_trains(small: Recipe, tmp_path: Path) -> None:
    write(tmp_path, {"train": [MIDDLE, MIDDLE], "val": [MIDDLE]}, names="light")
    result = train(small, tmp_path / "run")
    assert list(result["per_class"]) == ["light"]
    assert native.load(Path(result["best"]))[1].classes == ("light",)


@pytest.mark.usefixtures("undrawn")
def test_images_smaller_than_a_cell_train(small: Recipe, tmp_path: Path) -> None:
    write(tmp_path, {"train": [MIDDLE, [], MIDDLE], "val": [MIDDLE]}, hw=(5, 7))
    assert train(small, tmp_path / "run")["images"] == {"train": 3, "unlabelled": 0, "val": 1}


@pytest.mark.usefixtures("undrawn")
def test_one_image_trains_in_a_batch_of_many(small: Recipe, tmp_path: Path) -> None:
    write(tmp_path, {"train": [MIDDLE], "val": [MIDDLE]})
    result = train(replace(small, batch=64), tmp_path / "run")
    assert result["images"] == {"train": 1, "unlabelled": 0, "val": 1}
    assert (tmp_path / "run/best").is_dir()


def test_one_image_of_one_cell_is_refused(small: Recipe, tmp_path: Path) -> None:
    write(tmp_path, {"train": [MIDDLE], "val": [MIDDLE]})
    tiny = replace(small, train_hw=(32, 32))
    with pytest.raises(UsageError, match=r"one cell .*\n  hint: --set train_hw="):
        train(tiny, tmp_path / "run")


def test_images_that_are_all_broken_are_a_data_error(small: Recipe, tmp_path: Path) -> None:
    write(tmp_path, {"train": [MIDDLE, MIDDLE], "val": [MIDDLE]})
    for path in (tmp_path / "images/train").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"images/train/[01].png is not an image that OpenCV can decode"):
        train(small, tmp_path / "run")


def test_a_broken_validation_image_is_found_before_the_first_step(small: Recipe, tmp_path: Path) -> None:
    write(tmp_path, {"train": [MIDDLE], "val": [MIDDLE, MIDDLE]})
    (tmp_path / "images/val/1.png").write_bytes(b"\x89PNG, and then nothing")
    with pytest.raises(DataError, match=r"images/val/1.png is truncated"):
        train(small, tmp_path / "run")
    assert not (tmp_path / "run/history.csv").exists()
