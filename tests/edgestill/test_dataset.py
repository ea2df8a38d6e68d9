"""Data sets and what may be wrong with them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.dataset import Dataset, label_path, read_image, read_labels
from edgestill.errors import DataError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images" / "val").mkdir(parents=True)
    (tmp_path / "labels" / "val").mkdir(parents=True)
    for name in ("b.png", "a.png"):
        cv2.imwrite(str(tmp_path / "images" / "val" / name), np.full((20, 40, 3), 7, np.uint8))
    (tmp_path / "labels" / "val" / "a.txt").write_text("1 0.5 0.5 0.25 0.5\n\n0 0.1 0.1 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("path: .\nval: images/val\nnames: {0: red, 1: green}\n")
    return tmp_path


def test_a_data_set_is_read(folder: Path) -> None:
    data = Dataset.open(folder / "data.yaml")
    assert data.classes == ("red", "green")
    assert [p.name for p in data.images("val")] == ["a.png", "b.png"]


def test_a_class_called_off_is_not_a_truth_value(folder: Path) -> None:
    (folder / "data.yaml").write_text("val: images/val\nnames:\n  0: on\n  1: off\n")
    assert Dataset.open(folder / "data.yaml").classes == ("on", "off")


def test_labels_are_read_and_empty_lines_are_not(folder: Path) -> None:
    data = Dataset.open(folder / "data.yaml")
    labels = data.labels(folder / "images" / "val" / "a.png")
    assert labels.class_id.tolist() == [1, 0]
    np.testing.assert_allclose(labels.xyxy_px((20, 40))[0], [15, 5, 25, 15], atol=1e-4)


def test_an_image_without_a_label_file_shows_nothing(folder: Path) -> None:
    assert len(Dataset.open(folder / "data.yaml").labels(folder / "images" / "val" / "b.png")) == 0


def test_the_last_images_folder_becomes_labels() -> None:
    assert label_path(Path("/images/x/images/a/b.jpg")) == Path("/images/x/labels/a/b.txt")


def test_names_may_be_a_list_and_a_split_several_folders(folder: Path) -> None:
    (folder / "data.yaml").write_text("val: [images/val, images/val]\nnames: [red, green]\n")
    assert len(Dataset.open(folder / "data.yaml").images("val")) == 4


def test_a_lamp_that_is_off_is_not_false(folder: Path) -> None:
    (folder / "data.yaml").write_text("val: images/val\nnames: [on, off]\n")
    assert Dataset.open(folder / "data.yaml").classes == ("on", "off")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("names: [", "not readable YAML", id="broken"),
        pytest.param("val: images", "names no classes", id="no-names"),
        pytest.param("val: images\nnames: []", "names no classes", id="empty-names"),
        pytest.param("val: images\nnames: {1: a}", "numbers its classes", id="gap"),
        pytest.param("val: images\nnames: [a]\nnc: 2", "nc: 2 and names 1 classes", id="wrong-count"),
        pytest.param("names: [a]", "none of train, val, test", id="no-split"),
    ],
)
def test_a_wrong_data_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        Dataset.open(tmp_path / "data.yaml")


def test_a_missing_data_yaml_says_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as caught:
        Dataset.open(tmp_path / "data.yaml")
    assert "edgestill data synth" in caught.value.hint


def test_a_split_that_is_not_there_is_a_usage_error(folder: Path) -> None:
    with pytest.raises(UsageError, match="no split 'test'") as caught:
        Dataset.open(folder / "data.yaml").images("test")
    assert caught.value.hint == "it has: val"


def test_a_split_without_its_folder_is_refused(folder: Path) -> None:
    (folder / "data.yaml").write_text("val: nowhere\nnames: [a]")
    with pytest.raises(DataError, match="is not a folder"):
        Dataset.open(folder / "data.yaml").images("val")


def test_a_split_without_images_is_refused(folder: Path) -> None:
    (folder / "data.yaml").write_text("val: labels\nnames: [a]")
    with pytest.raises(DataError, match="holds no image"):
        Dataset.open(folder / "data.yaml").images("val")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param("0 0.5 0.5 0.1 0.1 0.9", "has 6 columns, expected 5", id="six-columns"),
        pytest.param("0 0.5 0.5 x 0.1", "is not five numbers", id="a-word"),
        pytest.param("2 0.5 0.5 0.1 0.1", "has class 2, the data set has 2", id="class-too-high"),
        pytest.param("-1 0.5 0.5 0.1 0.1", "has class -1", id="class-below-0"),
        pytest.param("0.5 0.5 0.5 0.1 0.1", "has class 0.5", id="half-a-class"),
        pytest.param("0 0.5 0.5 0 0.1", "a box without area", id="no-width"),
        pytest.param("0 0.95 0.5 0.2 0.1", "outside the image", id="over-the-edge"),
        pytest.param("0 nan 0.5 0.2 0.1", "not finite", id="nan"),
        pytest.param("0 320 240 20 10", "outside the image", id="pixels"),
    ],
)
def test_a_wrong_label_is_named_with_its_line(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "x.txt"
    path.write_text(f"0 0.5 0.5 0.1 0.1\n{row}\n")
    with pytest.raises(DataError, match=rf"x\.txt:2 .*{message}"):
        read_labels(path, 2)


def test_a_box_may_leave_the_image_by_a_rounding(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("0 0.0499999 0.5 0.1 0.1")
    assert len(read_labels(tmp_path / "x.txt", 1)) == 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_an_image_is_decoded_to_bgr(tmp_path: Path, suffix: str) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[:] = (250, 20, 10)
    cv2.imwrite(str(tmp_path / f"x{suffix}"), image)
    assert read_image(tmp_path / f"x{suffix}")[4, 4].argmax() == 0


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("part", [0.95, 0.5])
def test_a_truncated_image_is_refused(tmp_path: Path, suffix: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = cv2.imencode(suffix, noise)[1].tobytes()
    (tmp_path / f"x{suffix}").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(DataError, match="is truncated"):
        read_image(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("data", [b"", b"hello"])
def test_what_is_not_an_image_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.jpg").write_bytes(data)
    with pytest.raises(DataError, match="not an image that OpenCV can decode"):
        read_image(tmp_path / "x.jpg")


def test_a_missing_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_image(tmp_path / "x.jpg")
