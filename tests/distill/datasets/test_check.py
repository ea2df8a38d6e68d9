"""What ``check_dataset`` finds."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from distill.datasets.check import LISTED, check_dataset
from edgestill.errors import DataError


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), np.uint8)
    cv2.imwrite(str(path), noise)


def label(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row + "\n" for row in rows), "utf-8")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three splits of four different images, each with one box of both classes."""
    for s, split in enumerate(("train", "val", "test")):
        for i in range(4):
            picture(tmp_path / "images" / split / f"{i}.png", 10 * s + i)
            label(tmp_path / "labels" / split / f"{i}.txt", "0 .5 .5 .1 .1", "1 .2 .2 .1 .2")
    description = {
        "train": "images/train",
        "val": "images/val",
        "test": "images/test",
        "names": ["red", "green"],
    }
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(description), "utf-8")
    return tmp_path / "data.yaml"


def test_a_good_data_set_has_neither_errors_nor_warnings(data: Path) -> None:
    report = check_dataset(data)
    assert (report.errors, report.warnings) == ((), ())
    assert report.splits["train"].boxes == {"red": 4, "green": 4}
    assert report.splits["train"].sizes == {"60x40": 4}


def test_box_sizes_are_in_pixels_of_the_picture(data: Path) -> None:
    sides = check_dataset(data).box_side_px
    assert sides is not None
    assert sides["min"] == pytest.approx((6 * 4) ** 0.5, abs=0.1)
    assert sides["max"] == pytest.approx((6 * 8) ** 0.5, abs=0.1)


def test_a_truncated_picture_is_an_error(data: Path) -> None:
    path = data.parent / "images/train/0.png"
    path.write_bytes(path.read_bytes()[:200])
    report = check_dataset(data)
    assert report.error_counts == {"image": 1}
    assert report.errors[0].where == path


@pytest.mark.parametrize("row", ["0 .5 .5 .1 .1 .9", "7 .5 .5 .1 .1", "0 .99 .5 .1 .1", "red .5 .5 .1 .1"])
def test_a_bad_label_row_is_an_error(data: Path, row: str) -> None:
    path = data.parent / "labels/val/1.txt"
    label(path, "0 .5 .5 .1 .1", row)
    report = check_dataset(data)
    assert report.error_counts == {"label": 1}
    assert f"{path}:2" in report.errors[0].what


def test_a_label_whose_picture_is_gone_is_an_error(data: Path) -> None:
    (data.parent / "images/test/3.png").unlink()
    report = check_dataset(data)
    assert report.error_counts == {"orphan": 1}
    assert report.errors[0].where == data.parent / "labels/test/3.txt"


def test_the_same_pixels_in_two_splits_are_an_error(data: Path) -> None:
    image = cv2.imread(str(data.parent / "images/train/2.png"))
    cv2.imwrite(str(data.parent / "images/val/2.bmp"), image)  # another file, the same image
    report = check_dataset(data)
    assert report.error_counts == {"duplicate": 1}
    assert "2.png (train)" in report.errors[0].what


def test_the_same_pixels_twice_in_one_split_are_a_warning(data: Path) -> None:
    picture(data.parent / "images/train/9.png", 0)
    label(data.parent / "labels/train/9.txt", "0 .5 .5 .1 .1")
    report = check_dataset(data)
    assert report.errors == ()
    assert report.warnings == ("train holds 1 image more than once",)


def test_a_split_whose_folder_is_missing_is_an_error(data: Path) -> None:
    data.write_text(data.read_text("utf-8").replace("images/val", "images/vla"), "utf-8")
    assert check_dataset(data).error_counts == {"split": 1}


def test_a_picture_without_a_label_file_shows_nothing(data: Path) -> None:
    (data.parent / "labels/train/1.txt").unlink()
    report = check_dataset(data)
    assert report.errors == ()
    assert report.splits["train"].without_boxes == 1


def test_a_class_that_never_appears_is_a_warning(data: Path) -> None:
    for i in range(4):
        label(data.parent / f"labels/val/{i}.txt", "0 .5 .5 .1 .1")
    (warning,) = check_dataset(data).warnings
    assert warning.startswith("val has no 'green'")


def test_a_rare_class_is_a_warning(data: Path) -> None:
    label(
        data.parent / "labels/train/0.txt",
        "1 .5 .5 .1 .1",
        *(f"0 .5 .5 .1 {0.1 + i / 100:.2f}" for i in range(60)),
    )
    assert check_dataset(data).warnings == ("train has 4 'green' against 63 of the most frequent class",)


def test_a_split_without_any_box_is_a_warning(data: Path) -> None:
    for path in (data.parent / "labels/train").iterdir():
        path.unlink()
    (warning,) = check_dataset(data).warnings
    assert warning.startswith("train has no boxes at all")


def test_a_missing_split_is_a_warning(data: Path) -> None:
    data.write_text(data.read_text("utf-8").replace("test: images/test\n", ""), "utf-8")
    assert check_dataset(data).warnings == ("there is no test split",)


def test_all_errors_are_counted_and_some_are_named(data: Path) -> None:
    for i in range(LISTED + 5):
        label(data.parent / f"labels/train/gone{i}.txt", "0 .5 .5 .1 .1")
    report = check_dataset(data)
    assert report.error_counts == {"orphan": LISTED + 5}
    assert len(report.errors) == LISTED


def test_a_data_yaml_that_is_not_there_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        check_dataset(tmp_path / "data.yaml")


@pytest.mark.slow
def test_the_real_streets_have_the_counts_of_their_description(shared_data: Path) -> None:
    report = check_dataset(shared_data / "street" / "data.yaml")
    assert report.errors == ()
    assert report.splits["test"].boxes == {"red": 152, "yellow": 10, "green": 86, "off": 4}
    assert report.splits["test"].without_boxes == 15
