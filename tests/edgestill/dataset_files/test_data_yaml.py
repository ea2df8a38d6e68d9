"""``data.yaml`` in the forms that people have."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.dataset import Dataset, say_remarks
from edgestill.errors import DataError

NAMES = "names: [red, green]\n"


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))


def opened(folder: Path, text: str, name: str = "data.yaml") -> Dataset:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, "utf-8")
    return Dataset.open(folder / name)


@pytest.mark.parametrize(
    "names",
    [
        "[red, green]",
        "{0: red, 1: green}",
        "{'1': green, '0': red}",
        "{1: green, 0: red}",
        "\n- red\n- green",
        "\n  0: red\n  1: green",
        "['red', \"green\"]",
    ],
)
@pytest.mark.parametrize("nc", ["", "nc: 2\n", "nc: '2'\n", "nc: 2.0\n", "nc:\n"])
def test_names_are_read_in_every_form(tmp_path: Path, names: str, nc: str) -> None:
    assert opened(tmp_path, f"val: images\n{nc}names: {names}\n").classes == ("red", "green")


def test_names_that_are_numbers_are_text(tmp_path: Path) -> None:
    assert opened(tmp_path, "val: images\nnames: [30, 50, 1.5]\n").classes == ("30", "50", "1.5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("names: {0: red, '1': green}", "mixes numbers and text in the class ids", id="mixed"),
        pytest.param("names: {0: red, a: green}", "mixes numbers and text", id="a-word-and-a-number"),
        pytest.param("names: {a: red, b: green}", "numbers its classes a, b", id="words"),
        pytest.param("names: {1: red, 2: green}", "numbers its classes 1, 2, not 0 to 1", id="from-1"),
        pytest.param("names: {'0': red, '00': green}", "numbers its classes 0, 00", id="one-id-twice"),
        pytest.param("names: {0: red, 0: green}", "'0' is there twice", id="a-key-twice"),
        pytest.param("names: {0: red, null: green}", "mixes numbers and text", id="no-id"),
        pytest.param("names: {0.5: red, 1.5: green}", "mixes numbers and text", id="half-an-id"),
        pytest.param("names: [red, red]", "names 2 classes 'red'", id="equal"),
        pytest.param("names: [red, green, red, red]", "names 3 classes 'red'", id="three-equal"),
        pytest.param("names: [1, '1']", "names 2 classes '1'", id="equal-as-text"),
        pytest.param("names: [red, null]", "no plain name for class 1: None", id="no-name"),
        pytest.param("names: [red, ' ']", "no plain name for class 1", id="a-blank"),
        pytest.param("names: [red, [green]]", "no plain name for class 1", id="nested"),
        pytest.param("names: red", "names no classes", id="text"),
        pytest.param("names: 4", "names no classes", id="a-number"),
        pytest.param("nc: 3", "says nc: 3 and names no classes", id="nc-alone"),
        pytest.param("nc: 3\nnames: [red]", "says nc: 3 and names 1 classes", id="nc-too-high"),
        pytest.param("nc: many\nnames: [red]", "says nc: many", id="nc-a-word"),
        pytest.param("nc: [1]\nnames: [red]", r"says nc: \[1\]", id="nc-a-list"),
        pytest.param("nc: .inf\nnames: [red]", "says nc: inf", id="nc-without-end"),
        pytest.param(f"{NAMES}path: 5", "says path: 5, which is no folder", id="path-a-number"),
        pytest.param(f"{NAMES}path: [a, b]", r"says path: \['a', 'b'\]", id="path-a-list"),
        pytest.param(f"{NAMES}val: 5", "says val: 5, which is no folder", id="split-a-number"),
        pytest.param(f"{NAMES}val: {{a: b}}", "which is no folder", id="split-a-mapping"),
        pytest.param(f"{NAMES}val: [images, 5]", "which is no folder", id="split-a-list-with-a-number"),
        pytest.param(f"{NAMES}val: 2020-99-99", "not readable YAML", id="no-date"),
        pytest.param("[" * 5000, "not readable YAML", id="deep"),
        pytest.param(f"{NAMES}kpt_shape: 17", "says kpt_shape: 17", id="keypoints"),
        pytest.param("- a\n- b", "names no classes", id="a-list"),
        pytest.param("", "names no classes", id="empty"),
    ],
)
def test_what_has_no_meaning_is_refused_in_two_lines(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        opened(
            tmp_path, text if "val" in text or text.startswith(("[", "-")) or not text else f"val: x\n{text}"
        )
    assert str(caught.value).count("\n") == 1


def test_a_merged_mapping_may_be_overridden(tmp_path: Path) -> None:
    text = "base: &b {0: red, 1: green}\nval: images\nnames:\n  <<: *b\n  1: yellow\n"
    assert opened(tmp_path, text).classes == ("red", "yellow")


def test_bytes_that_are_not_utf_8_are_refused_and_a_byte_order_mark_is_not(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_bytes("val: images\nnames: [grün]".encode("latin-1"))
    with pytest.raises(DataError, match="not readable YAML"):
        Dataset.open(tmp_path / "data.yaml")
    (tmp_path / "data.yaml").write_bytes("val: images\nnames: [grün]".encode("utf-8-sig"))
    assert Dataset.open(tmp_path / "data.yaml").classes == ("grün",)


def test_a_folder_in_place_of_the_file_says_which_to_give(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder") as caught:
        Dataset.open(tmp_path)
    assert "give the data.yaml" in caught.value.hint
    (tmp_path / "dataset.yml").write_text(NAMES)
    with pytest.raises(DataError, match="is a folder") as caught:
        Dataset.open(tmp_path)
    assert caught.value.hint == f"give {tmp_path / 'dataset.yml'}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("val: ../valid/images\n", id="roboflow"),
        pytest.param("val: valid/images\n", id="beside"),
        pytest.param("valid: valid/images\n", id="valid"),
        pytest.param("validation: valid/images\n", id="validation"),
        pytest.param("val: [../valid/images]\n", id="a-list"),
        pytest.param("path: .\nval: valid/images\n", id="path-here"),
        pytest.param("path: ''\nval: valid/images\n", id="path-empty"),
        pytest.param("path:\nval: valid/images\n", id="path-none"),
        pytest.param("path: valid\nval: images\n", id="path-below"),
        pytest.param("path: /nowhere/at/all\nval: valid/images\n", id="path-of-another-machine"),
        pytest.param("path: ../datasets/street\nval: ../valid/images\n", id="path-of-yolov5"),
        pytest.param("val: ..\\valid\\images\n", id="windows"),
        pytest.param("val: valid/images/x.png\n", id="one-image"),
    ],
)
def test_a_folder_is_found_in_every_form(tmp_path: Path, text: str) -> None:
    picture(tmp_path / "valid" / "images" / "x.png")
    data = opened(tmp_path, text + NAMES)
    assert [path.resolve() for path in data.images("val")] == [tmp_path / "valid" / "images" / "x.png"]


def test_an_absolute_path_and_an_absolute_folder_are_read(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "images" / "x.png")
    for text in (f"path: {tmp_path / 'set'}\nval: images\n", f"val: {tmp_path / 'set' / 'images'}\n"):
        assert len(opened(tmp_path, text + NAMES, "elsewhere/data.yaml").images("val")) == 1


def test_the_folder_above_is_preferred_where_it_is_there(tmp_path: Path) -> None:
    picture(tmp_path / "valid" / "above.png")
    picture(tmp_path / "set" / "valid" / "below.png")
    data = opened(tmp_path, f"val: ../valid\n{NAMES}", "set/data.yaml")
    assert [path.name for path in data.images("val")] == ["above.png"]


def test_a_path_that_is_not_there_may_be_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "datasets" / "x" / "images" / "x.png")
    (tmp_path / "yolov5").mkdir()
    monkeypatch.chdir(tmp_path / "yolov5")
    data = opened(tmp_path, f"path: ../datasets/x\nval: images\n{NAMES}", "yolov5/data/x.yaml")
    assert len(data.images("val")) == 1
    assert "path: ../datasets/x is not there" in data.notes[0]
    say_remarks(data)
    say_remarks(data)
    assert capsys.readouterr().err.count("is not there; the folders are looked for in ../datasets/x") == 1


def test_a_missing_folder_names_the_path_that_is_not_there_and_the_download(tmp_path: Path) -> None:
    data = opened(tmp_path, f"path: gone\nval: images\ndownload: rm -rf /\n{NAMES}")
    with pytest.raises(DataError, match=r"is not a folder or a list.*path: gone is not there") as caught:
        data.images("val")
    assert "download entry is never run" in caught.value.hint


@pytest.mark.parametrize("text", ["val: {}", "path: {}\nval: images", "val: [images, {}]", "val: {}/x.txt"])
def test_a_name_that_is_too_long_for_a_file_is_not_there(tmp_path: Path, text: str) -> None:
    picture(tmp_path / "images" / "deep" / "x.png")
    data = opened(tmp_path, f"{text.format('a' * 300)}\n{NAMES}")
    if "path" in text:
        assert len(data.images("val")) == 1
        return
    with pytest.raises(DataError, match="is not a folder"):
        data.images("val")


def test_a_split_without_value_is_none(tmp_path: Path) -> None:
    assert set(opened(tmp_path, f"train: images\nval:\ntest:  # optional\n{NAMES}").splits) == {"train"}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_list_of_images_is_relative_to_its_folder(tmp_path: Path, newline: str, encoding: str) -> None:
    for name in ("a", "b", "not listed"):
        picture(tmp_path / "lists" / "images" / f"{name}.png")
    entries = ["./images/a.png", "", "images/b.png  ", "images/notes.md", "./images/._b.png"]
    (tmp_path / "lists" / "val.txt").write_bytes(newline.join(entries).encode(encoding))
    data = opened(tmp_path, f"val: lists/val.txt\n{NAMES}")
    assert [path.name for path in data.images("val")] == ["a.png", "b.png"]


def test_a_list_of_images_may_be_relative_to_the_data_set_or_absolute(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "images" / f"{name}.png")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "val.txt").write_text(f"images/a.png\n{tmp_path}/images/b.png\n")
    data = opened(tmp_path, f"val: [lists/val.txt, images]\n{NAMES}")
    assert [path.name for path in data.images("val")] == ["a.png", "a.png", "b.png", "b.png"]


def test_listed_images_that_are_not_there_are_counted(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "val.txt").write_text("a.png\nb.png\nc.png\n")
    with pytest.raises(DataError, match=r"names 2 of 3 images that are not there, first b\.png"):
        opened(tmp_path, f"val: val.txt\n{NAMES}").images("val")
