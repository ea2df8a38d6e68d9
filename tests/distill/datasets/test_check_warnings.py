"""What ``data check`` names in the folders that people have."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from distill.datasets.check import check_dataset
from edgestill.cli.verbs.data import verdict
from edgestill.errors import DataError


def picture(path: Path, seed: int, hw: tuple[int, int] = (40, 60)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (*hw, 3), np.uint8))


def label(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row + "\n" for row in rows), "utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of three splits without anything to warn of."""
    for s, split in enumerate(("train", "val", "test")):
        for i in range(3):
            picture(tmp_path / "images" / split / f"{i}.png", 10 * s + i)
            label(tmp_path / "labels" / split / f"{i}.txt", "0 .5 .5 .1 .1", "1 .2 .2 .1 .2")
    (tmp_path / "data.yaml").write_text(
        "train: images/train\nval: images/val\ntest: images/test\nnames: [red, green]\n"
    )
    return tmp_path


def warning(folder: Path) -> str:
    """The only warning of a data set without errors."""
    report = check_dataset(folder / "data.yaml")
    assert report.errors == ()
    (found,) = report.warnings
    return found


@pytest.mark.parametrize(
    "hidden",
    [
        ".ipynb_checkpoints/0-checkpoint.png",
        "@eaDir/0.png",
        "__MACOSX/._0.png",
        "._0.png",
        ".Trash-1000/files/0.png",
        "$RECYCLE.BIN/0.png",
        "#recycle/0.png",
    ],
)
def test_hidden_images_are_left_out_and_named(folder: Path, hidden: str) -> None:
    target = folder / "images" / "val" / hidden
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "images" / "val" / "0.png", target)
    assert warning(folder) == f"val has 1 hidden image, left out, e.g. {target}"
    assert check_dataset(folder / "data.yaml").splits["val"].images == 3


def test_hidden_label_files_and_the_class_list_of_labelimg_are_no_orphans(folder: Path) -> None:
    for name in (".ipynb_checkpoints/0-checkpoint.txt", "._0.txt", "classes.txt"):
        label(folder / "labels" / "val" / name, "0 .5 .5 .1 .1")
    report = check_dataset(folder / "data.yaml")
    assert (report.errors, report.warnings) == ((), ())


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (["0 .5 .5 .1 .1", "1 .2 .2 .1 .2"] * 2, "2 label rows equal to one in the same file, left out"),
        (["0 .5 .5 .1 .1", "1 .1 .1 .3 .1 .3 .4"], "1 polygon read as the box around it"),
        (["0 .5 .5 .1 .1", "1 .2 .2 .1 .01"], "1 box with a side under 2 px"),
        (["0 .5 .5 .1 .1", "1 .5 .5 1 .95"], "1 box over more than 90% of the image"),
    ],
)
def test_unusual_rows_are_counted_with_the_first_file(folder: Path, rows: list[str], what: str) -> None:
    path = folder / "labels" / "test" / "1.txt"
    label(path, *rows)
    assert warning(folder) == f"test has {what}, e.g. {path}"


def test_images_without_label_file_and_with_an_empty_one_are_counted(folder: Path) -> None:
    (folder / "labels/train/1.txt").unlink()
    assert warning(folder).startswith(
        "train has 1 image without a label file, which counts as background, e.g."
    )
    assert check_dataset(folder / "data.yaml").splits["train"].without_label_file == 1
    label(folder / "labels/train/1.txt")
    assert warning(folder).startswith(
        "train has 1 image with an empty label file, which counts as background"
    )
    assert check_dataset(folder / "data.yaml").splits["train"].without_label_file == 0


def test_images_that_are_turned_transparent_or_deep_are_named(folder: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    path = folder / "images" / "val" / "0.png"
    noise = np.random.default_rng(77).integers(0, 255, (60, 40, 4), np.uint8)
    exif = image_module.Exif()
    exif[274] = 8
    image_module.fromarray(noise[..., :3]).save(path, exif=exif)
    assert "1 image turned by the EXIF orientation" in warning(folder)
    image_module.fromarray(np.ascontiguousarray(noise.transpose(1, 0, 2))).save(path)
    assert "1 image with transparent pixels" in warning(folder)
    opaque = noise.transpose(1, 0, 2).copy()
    opaque[..., 3] = 255
    image_module.fromarray(opaque).save(path)
    assert check_dataset(folder / "data.yaml").warnings == ()
    cv2.imwrite(str(path), opaque[..., :3].astype(np.uint16) * 257)
    assert "1 image of 16 bits, of which the upper 8 count" in warning(folder)


def test_several_pages_and_another_format_than_the_name_are_named(folder: Path) -> None:
    pages = [np.random.default_rng(i).integers(0, 255, (40, 60, 3), np.uint8) for i in (91, 92)]
    (folder / "images/val/0.png").unlink()
    cv2.imwritemulti(str(folder / "images/val/0.tiff"), pages)
    assert "1 image with several pages or frames, of which the first counts" in warning(folder)
    (folder / "images/val/0.tiff").write_bytes(cv2.imencode(".png", pages[0])[1].tobytes())
    assert "1 image of another format than the name says" in warning(folder)


def test_files_that_cannot_be_read_are_named(folder: Path) -> None:
    for name in ("a.HEIC", "b.gif", "notes.md", "Thumbs.db"):
        (folder / "images" / "val" / name).write_bytes(b"x")
    assert "val has 2 files that cannot be read (.gif, .heic), e.g." in warning(folder)


def test_two_images_of_one_label_file_are_named(folder: Path) -> None:
    picture(folder / "images" / "val" / "1.bmp", 55)
    assert "val has 1 label file of several images" in warning(folder)


def test_sizes_that_vary_are_named(folder: Path) -> None:
    picture(folder / "images" / "val" / "1.png", 55, (80, 100))
    assert warning(folder) == "the images have 2 sizes, from 60x40 to 100x80"


def test_classes_that_differ_by_case_and_a_download_are_named(folder: Path) -> None:
    text = (folder / "data.yaml").read_text()
    (folder / "data.yaml").write_text(text.replace("green", "Red"))
    assert warning(folder) == "the classes 'red', 'Red' differ by case or blanks alone"
    (folder / "data.yaml").write_text(f"{text}download: https://example.org/x.zip\n")
    assert warning(folder) == "data.yaml has a download entry, which is never run"


def test_a_list_of_images_is_checked_as_a_folder_is(folder: Path) -> None:
    (folder / "val.txt").write_text("./images/val/0.png\n./images/val/2.png\n")
    text = (folder / "data.yaml").read_text().replace("val: images/val", "val: val.txt")
    (folder / "data.yaml").write_text(text)
    report = check_dataset(folder / "data.yaml")
    assert (report.errors, report.warnings) == ((), ())
    assert report.splits["val"].images == 2


@pytest.mark.parametrize(("broken", "what"), [(1, "has 1 error: 1 image"), (2, "has 2 errors: 2 image")])
def test_the_verdict_counts_the_errors(folder: Path, broken: int, what: str) -> None:
    for i in range(broken):
        path = folder / "images" / "val" / f"{i}.png"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(DataError, match=what):
        verdict(check_dataset(folder / "data.yaml"))
