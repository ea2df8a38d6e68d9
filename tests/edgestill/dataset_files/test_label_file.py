"""Label files as tools and people leave them."""

from pathlib import Path

import numpy as np
import pytest

from edgestill.dataset import Dataset, Labels, read_labels, say_remarks
from edgestill.errors import DataError

ROW = "1 0.5 0.5 0.25 0.5"


def read(tmp_path: Path, text: str | bytes, nc: int = 2, keypoint_columns: int = 0) -> Labels:
    path = tmp_path / "x.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_labels(path, nc, keypoint_columns=keypoint_columns)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(ROW.encode("utf-8-sig"), id="byte-order-mark"),
        pytest.param(ROW + "\r\n\r\n", id="windows"),
        pytest.param(ROW + "\r", id="old-mac"),
        pytest.param(ROW.replace(" ", "\t"), id="tabs"),
        pytest.param(f"  {ROW} \t\n \n", id="blanks"),
        pytest.param("1.0 5e-1 .5 2.5E-01 +0.5", id="forms-of-numbers"),
    ],
)
def test_a_box_is_read_in_every_form(tmp_path: Path, text: str | bytes) -> None:
    labels = read(tmp_path, text)
    assert labels.class_id.tolist() == [1]
    np.testing.assert_array_equal(labels.cxcywh, np.float32([[0.5, 0.5, 0.25, 0.5]]))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        pytest.param("1 0,5 0,5 0,25 0,5", "has a comma in its numbers", "write 0.5, not 0,5", id="comma"),
        pytest.param("1,0.5,0.5,0.25,0.5", "has commas between", "separate them by blanks", id="csv"),
        pytest.param("red 0.5 0.5 0.25 0.5", "a name for a class id", "count from 0", id="name"),
        pytest.param("1 0.5 0.5 ? 0.5", "is not five numbers", "a row is", id="question-mark"),
        pytest.param("1 0.5 0.5", "has 3 columns, expected 5", "a row is", id="short"),
        pytest.param(ROW + " 0.9", "has 6 columns, expected 5", "score of a prediction", id="prediction"),
        pytest.param(ROW + " 0.1 0.2 2", "has 8 columns, expected 5, or an odd", "kpt_shape", id="even"),
        pytest.param("1 0.5 0.5 inf 0.5", "not finite", "a row is", id="inf"),
        pytest.param("inf 0.5 0.5 0.1 0.5", "not finite", "a row is", id="class-inf"),
        pytest.param("nan 0.5 0.5 0.1 0.5", "not finite", "a row is", id="class-nan"),
        pytest.param("1 0.5 0.5 -0.1 0.5", "a box without area", "correct the row", id="negative"),
        pytest.param("0 0 0 0.5 0.5 1 1 nan 0", "not finite", "a row is", id="polygon-nan"),
        pytest.param("0 0.1 0.5 0.4 0.5 0.9 0.5", "a polygon without area", "correct", id="flat-polygon"),
        pytest.param("0 0.1 0.5 0.4 0.5 0.9 1.5", "outside the image", "clip", id="polygon-outside"),
        pytest.param("0 10 5 40 5 90 150", "outside the image", "divide by width", id="polygon-in-pixels"),
        pytest.param("2 0.1 0.1 0.4 0.5 0.9 0.5", "has class 2", "names", id="polygon-of-no-class"),
    ],
)
def test_a_row_that_cannot_be_read_says_why(tmp_path: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(DataError, match=rf"x\.txt:1 .*{message}") as caught:
        read(tmp_path, text)
    assert hint in caught.value.hint


def test_the_rows_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.txt:2 has 1 columns.*\(2 of 3 rows of this file are wrong\)"):
        read(tmp_path, f"{ROW}\nx\n\n5 .5 .5 .1 .1\n")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(ROW.encode("utf-16"), "is UTF-16 text", id="utf-16"),
        pytest.param(b"\xfe\xff" + ROW.encode("utf-16-be"), "is UTF-16 text", id="utf-16-be"),
        pytest.param(bytes(100), "holds zero bytes", id="zeros"),
        pytest.param(b"1 0.5 0.5 0.1 0.1 \xff", "is not UTF-8 text", id="latin-1"),
    ],
)
def test_what_is_no_text_says_so(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, data)


def test_a_folder_in_place_of_a_label_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.txt").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(tmp_path / "x.txt", 1)


@pytest.mark.parametrize(
    ("text", "boxes", "repeated"),
    [
        pytest.param(f"{ROW}\n" * 3, 1, 2, id="three"),
        pytest.param(f"{ROW}\n1 .50 .5 .250 5e-1\n", 1, 1, id="written-otherwise"),
        pytest.param(f"{ROW}\n0{ROW[1:]}\n", 2, 0, id="another-class"),
        pytest.param(f"{ROW}\n1 0.5 0.5 0.25 0.501\n", 2, 0, id="nearly"),
        pytest.param("0 0 0 1 0 1 1\n" * 2, 1, 1, id="polygon"),
        pytest.param("0 0 0 1 0 1 1\n0 0 0 1 1 0 1\n", 2, 0, id="polygons-of-one-box"),
    ],
)
def test_equal_rows_count_once(tmp_path: Path, text: str, boxes: int, repeated: int) -> None:
    labels = read(tmp_path, text)
    assert (len(labels), labels.repeated) == (boxes, repeated)


def test_a_row_of_keypoints_is_a_box_where_data_yaml_says_so(tmp_path: Path) -> None:
    row = ROW + " 0.4 0.4 2" * 3
    assert read(tmp_path, row, keypoint_columns=9).cxcywh.tolist() == [[0.5, 0.5, 0.25, 0.5]]
    with pytest.raises(DataError, match="has 14 columns"):
        read(tmp_path, row)


def test_the_data_set_counts_what_was_read_otherwise_and_says_it_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for name, text in {"a": f"{ROW}\n{ROW}\n", "b": f"{ROW}\n" * 3, "c": "0 0 0 1 0 1 1\n"}.items():
        (tmp_path / "labels" / f"{name}.txt").write_text(text)
    (tmp_path / "data.yaml").write_text("val: images\nnames: [red, green]\n")
    data = Dataset.open(tmp_path / "data.yaml")
    for name in "abc":
        assert len(data.labels(tmp_path / "images" / f"{name}.jpg")) == 1
    say_remarks(data)
    first, second = capsys.readouterr().err.splitlines()
    assert "3 label rows left out, because an equal one is in the same file: in 2 files, first" in first
    assert first.endswith("a.txt")
    assert "1 label row read as the box around its polygon: in 1 file, first" in second
    say_remarks(data)
    assert capsys.readouterr().err == ""
