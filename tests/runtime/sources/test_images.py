"""Image files by name, folder and pattern, and what is said of those that are not there."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.errors import DataError
from runtime.sources.images import ImageFiles, image_files


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        _, data = cv2.imencode(Path(name).suffix, np.zeros((4, 4, 3), np.uint8))
        Path(name).write_bytes(data.tobytes())


def names(text: str) -> list[str]:
    return [frame.name for frame in image_files(text).frames()]


def test_names_hold_the_folders_that_tell_them_apart() -> None:
    put("x/a/1.jpg", "x/b/1.jpg", "x/b/c/1.jpg")
    assert names("x/[ab]/*.jpg") == ["a/1.jpg", "b/1.jpg"]
    assert names("x/**/*.jpg") == ["a/1.jpg", "b/1.jpg", "b/c/1.jpg"]
    assert names("x/b/*.jpg") == ["1.jpg"]


def test_a_root_of_two_slashes_is_the_root(folder: Path) -> None:
    put("x/1.jpg", "x/b/2.jpg")
    assert names(f"/{folder}/x") == ["1.jpg"]
    assert ImageFiles([Path("//a.jpg"), Path("//b/c.jpg")]).names == ("a.jpg", "b/c.jpg")


def test_a_file_that_a_pattern_finds_twice_is_one(folder: Path) -> None:
    put("a/1.jpg", "b/2.jpg")
    assert names("*/../a/*.jpg") == ["1.jpg"]
    assert names(str(folder / "*" / ".." / "*" / "*.jpg")) == ["a/1.jpg", "b/2.jpg"]


@pytest.mark.parametrize("name", ["[ab].jpg", "clips[1]/x.jpg", "a?.png", "12:30.jpg", "信号 红.png"])
def test_a_literal_name_comes_before_the_pattern(name: str) -> None:
    put(name, "a.jpg", "clips1/x.jpg", "ab.png")
    assert names(name) == [Path(name).name]


@pytest.mark.parametrize("name", ["clips[1]", "a*"])
def test_a_folder_of_that_name_comes_before_the_pattern(name: str) -> None:
    put(f"{name}/1.jpg", "clips1/2.jpg", "ab/2.jpg")
    assert names(f"{name}/*.jpg") == ["1.jpg"]


def test_hidden_files_are_no_images() -> None:
    put("x/1.jpg")
    Path("x/._1.jpg").write_bytes(b"Mac OS X")
    assert names("x") == ["1.jpg"]


def test_the_time_of_images_does_not_depend_on_the_machine() -> None:
    put("x/1.jpg", "x/2.jpg", "x/3.jpg")
    assert [frame.time_s for frame in image_files("x").frames()] == pytest.approx([0, 0.04, 0.08])


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("in/steet.png", "in/steet.png does not exist", "did you mean in/street.png?"),
        ("in/Street.jpg", "does not exist", "did you mean in/street.png?"),
        ("inn/street.png", "there is no folder inn", "did you mean in?"),
        ("in/zzz.png", "does not exist", "holds street.png"),
        ("nodir/x/y.png", "there is no folder nodir", "holds"),
        ("in/*.jpg", "as a pattern matches nothing", "images end in .bmp"),
        ("notes/*", "matches 1 files, none of them an image", "images end in .bmp"),
        ("notes", "holds no image, but files that end in .txt", "images end in .bmp"),
        (".", "it has the folders empty, in, notes", "name one of them"),
        ("empty", "empty holds no image", "images end in .bmp"),
        ("run", "run is a model, not a source", "the model comes first"),
        ("/dev/null", "/dev/null is a device", "v4l2:///dev/null"),
    ],
)
def test_what_is_missing_is_told(text: str, what: str, hint: str) -> None:
    put("in/street.png")
    for name in ("notes/a.txt", "run/model.safetensors", "empty/.hidden"):
        Path(name).parent.mkdir()
        Path(name).touch()
    with pytest.raises(DataError) as caught:
        image_files(text)
    assert what in caught.value.what
    assert hint in caught.value.hint
