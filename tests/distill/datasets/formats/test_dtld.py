"""DTLD: raw images, labels of both versions, and what goes wrong with them."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from distill.datasets.convert import convert_dataset
from distill.datasets.formats.dtld import bayer_to_bgr
from edgestill.errors import DataError, UsageError

HERE = "Berlin/Berlin1/2015-04-17_10-50-05"
SIZE_WH = (64, 32)
BOX = {"x": 1, "y": 1, "w": 5, "h": 9}


def raw(path: Path, mosaic: np.ndarray) -> Path:
    cv2.imwrite(str(path), mosaic.astype(np.uint16))
    return path


def test_the_brightest_raw_value_becomes_255(tmp_path: Path) -> None:
    image = bayer_to_bgr(raw(tmp_path / "x.tiff", np.full((8, 8), 0x0FFF)))
    assert (image.shape, image.dtype) == ((8, 8, 3), np.uint8)
    assert image.min() == 255


def test_a_value_of_more_than_12_bits_does_not_wrap_round(tmp_path: Path) -> None:
    assert bayer_to_bgr(raw(tmp_path / "x.tiff", np.full((8, 8), 0x1000))).min() == 255


@pytest.mark.parametrize(
    ("sites", "bgr"),
    [
        ([(0, 1)], (0, 0, 255)),  # red stands right of the first green
        ([(1, 0)], (255, 0, 0)),
        ([(0, 0), (1, 1)], (0, 255, 0)),
    ],
)
def test_the_filter_pattern_is_green_red_over_blue_green(
    tmp_path: Path, sites: list[tuple[int, int]], bgr: tuple[int, int, int]
) -> None:
    mosaic = np.zeros((16, 16))
    for row, column in sites:
        mosaic[row::2, column::2] = 0x0FFF
    image = bayer_to_bgr(raw(tmp_path / "x.tiff", mosaic))
    assert (image[4:-4, 4:-4] == bgr).all()


def test_the_lower_four_bits_are_dropped_not_rounded(tmp_path: Path) -> None:
    assert (bayer_to_bgr(raw(tmp_path / "x.tiff", np.full((8, 8), 0x07FF))) == 0x7F).all()


def test_pictures_are_found_behind_the_authors_absolute_paths(dtld: Any, out: Any) -> None:
    name = dtld.add("train", HERE, [dtld.light(10, 4, 6, 12, state="green")])
    result = convert_dataset("dtld", dtld.write(), out.path)
    assert out.boxes(name, SIZE_WH) == [[2, 10, 4, 16, 16]]
    assert result.pictures == {"decoded": 1}


def test_pictures_are_found_in_a_folder_of_the_source_too(dtld: Any, out: Any, tmp_path: Path) -> None:
    name = dtld.add("train", HERE, [])
    root = dtld.write()
    (tmp_path / "outer").mkdir()
    root.rename(tmp_path / "outer" / "DTLD")
    convert_dataset("dtld", tmp_path / "outer", out.path)
    assert out.rows(name) == []


@pytest.mark.parametrize(
    "path", ["x.tiff", "/home/../../etc/passwd/../x.tiff", "a\\..\\..\\b\\c.tiff", "", None]
)
def test_a_path_that_leads_elsewhere_is_counted(dtld: Any, out: Any, path: str | None) -> None:
    dtld.add("train", HERE, [])
    dtld.add("train", HERE, [])
    dtld.images["train"][1]["image_path"] = path
    result = convert_dataset("dtld", dtld.write(), out.path)
    assert sum(result.images.values()) == 1
    assert sum(result.skipped_pictures.values()) == 1


def test_a_windows_path_is_as_good(dtld: Any, out: Any) -> None:
    name = dtld.add("train", HERE, [])
    image = dtld.images["train"][0]
    image["image_path"] = "D:" + image["image_path"].replace("/", "\\")
    convert_dataset("dtld", dtld.write(), out.path)
    assert out.rows(name) == []


def test_boxes_beyond_the_border_are_clipped_and_those_outside_left_out(dtld: Any, out: Any) -> None:
    boxes = [(-4, -2, 10, 6), (60, 28, 8, 8), (70, 4, 5, 5), (10, 10, 0, 5), (12, 12, 3, 0)]
    name = dtld.add("train", HERE, [dtld.light(*box) for box in boxes])
    result = convert_dataset("dtld", dtld.write(), out.path)
    assert out.boxes(name, SIZE_WH) == [[0, 0, 0, 6, 4], [0, 60, 28, 64, 32]]
    assert result.clipped_boxes == 2
    assert result.skipped_objects == {"its box has no area": 2, "its box is outside the image": 1}


def test_relevance_is_a_plain_word(dtld: Any, out: Any) -> None:
    lights = [dtld.light(1, 1, 5, 9), dtld.light(20, 1, 5, 9, relevance="not_relevant")]
    name = dtld.add("train", HERE, lights)
    result = convert_dataset("dtld", dtld.write(), out.path, classes="relevance")
    assert result.classes == ("relevant", "not_relevant")
    assert [row[0] for row in out.rows(name)] == [0, 1]


def test_the_state_unknown_has_no_class_and_is_counted(dtld: Any, out: Any) -> None:
    states = ("red", "red_yellow", "yellow", "green", "off", "unknown")
    name = dtld.add("train", HERE, [dtld.light(8 * i, 1, 5, 9, state=s) for i, s in enumerate(states)])
    result = convert_dataset("dtld", dtld.write(), out.path)
    assert result.classes == ("red", "yellow", "green", "off")
    assert [row[0] for row in out.rows(name)] == [0, 0, 1, 2, 3]
    assert result.skipped_objects == {"no class for state unknown": 1}


def test_pictograms_are_classes_too(dtld: Any, out: Any) -> None:
    lights = [dtld.light(1, 1, 5, 9), dtld.light(20, 1, 5, 9, pictogram="arrow_left")]
    name = dtld.add("train", HERE, lights)
    convert_dataset("dtld", dtld.write(), out.path, classes="pictogram")
    assert [row[0] for row in out.rows(name)] == [0, 1]


def test_reflections_and_lights_from_behind_stay_in_and_are_told_apart(dtld: Any, out: Any) -> None:
    lights = [dtld.light(1, 1, 5, 9, reflection="reflected"), dtld.light(20, 1, 5, 9, direction="back")]
    dtld.add("train", HERE, [*lights, dtld.light(40, 1, 5, 9, state="unknown")])
    result = convert_dataset("dtld", dtld.write(), out.path)
    (line,) = result.objects.read_text("utf-8").splitlines()
    told = json.loads(line)
    assert (out.path / told["image"]).is_file()
    assert [tags["reflection"] for tags in told["objects"]] == ["reflected", "not_reflected"]
    assert [tags["direction"] for tags in told["objects"]] == ["front", "back"]


def test_a_class_map_of_ones_own_drops_reflections_and_lights_from_behind(
    dtld: Any, out: Any, tmp_path: Path
) -> None:
    lights = [dtld.light(1, 1, 5, 9, reflection="reflected"), dtld.light(20, 1, 5, 9, direction="back")]
    name = dtld.add("train", HERE, [*lights, dtld.light(40, 1, 5, 9)])
    own = tmp_path / "own.toml"
    own.write_text(
        'names = ["light"]\n[dtld]\nby = "state"\nclasses = { "*" = "light" }\n'
        'drop = { reflection = ["reflected"], direction = ["back", "left", "right"] }\n'
    )
    result = convert_dataset("dtld", dtld.write(), out.path, classes=str(own))
    assert len(out.rows(name)) == 1
    assert result.skipped_objects == {
        "dropped by the class map: reflection reflected": 1,
        "dropped by the class map: direction back": 1,
    }


@pytest.mark.parametrize(
    "label",
    [
        {"x": 1},
        {"x": "a", "y": 1, "w": 2, "h": 2},
        7,
        {},
        BOX,
        BOX | {"w": -5, "attributes": {"state": "red"}},
        BOX | {"attributes": None},
        BOX | {"attributes": {"state": None}},
        BOX | {"attributes": {"state": " "}},
        {"x": 0.1, "y": 0.1, "w": 0.05, "h": 0.09, "attributes": {"state": "red"}},
    ],
)
def test_a_picture_with_a_label_that_cannot_be_read_is_left_out(dtld: Any, out: Any, label: Any) -> None:
    dtld.add("train", HERE, [label, dtld.light(1, 1, 5, 9)])
    name = dtld.add("train", HERE, [dtld.light(3 * i, 1, 2, 9) for i in range(20)])
    result = convert_dataset("dtld", dtld.write(), out.path)
    assert set(out.splits()) == {name}
    assert result.skipped_pictures == {"an object in it could not be read": 1}
    assert sum(result.unreadable_objects.values()) == 1


def test_numbers_may_be_text(dtld: Any, out: Any) -> None:
    name = dtld.add("train", HERE, [dtld.light("10", " 4 ", "6.0", 12, state=" Green ")])
    convert_dataset("dtld", dtld.write(), out.path)
    assert out.boxes(name, SIZE_WH) == [[2, 10, 4, 16, 16]]


def test_labels_of_a_picture_whose_path_cannot_be_read_count_as_unreadable(dtld: Any, out: Any) -> None:
    for _ in range(2):
        dtld.add("train", HERE, [dtld.light(1, 1, 5, 9)])
    dtld.images["train"][1]["image_path"] = None
    with pytest.raises(DataError, match=r"1 of 2 objects could not be read.*path of the image is too short"):
        convert_dataset("dtld", dtld.write(), out.path)


def test_cities_may_lie_elsewhere(dtld: Any, out: Any, tmp_path: Path) -> None:
    name = dtld.add("train", HERE, [dtld.light(1, 1, 5, 9)])
    root = dtld.write()
    (tmp_path / "disk").mkdir()
    (root / "Berlin").rename(tmp_path / "disk" / "Berlin")
    convert_dataset("dtld", root, out.path, options={"images": tmp_path / "disk"})
    assert len(out.rows(name)) == 1


@pytest.mark.parametrize("content", [b"", b"II*\0nothing", None])
def test_a_broken_picture_stops_nothing(dtld: Any, out: Any, content: bytes | None) -> None:
    dtld.add("train", HERE, [])
    dtld.add("train", HERE, [])
    path = dtld.root / HERE / "DE_0002_k0.tiff"
    path.unlink() if content is None else path.write_bytes(content)
    result = convert_dataset("dtld", dtld.write(), out.path)
    assert result.images == {"train": 1}
    (reason,) = result.skipped_pictures
    assert "DE_0002" in result.examples[0]
    assert reason in result.examples[0]


def test_a_picture_of_8_bits_under_a_raw_name_is_counted(dtld: Any, out: Any) -> None:
    dtld.add("train", HERE, [])
    dtld.add("train", HERE, [])
    cv2.imwrite(str(dtld.root / HERE / "DE_0002_k0.tiff"), np.zeros((32, 64), np.uint8))
    result = convert_dataset("dtld", dtld.write(), out.path)
    assert result.skipped_pictures == {"the image is not one channel of 16 bits": 1}


def test_small_lamps_keep_their_colour_in_the_jpeg(dtld: Any, out: Any) -> None:
    dtld.add("train", HERE, [])
    mosaic = np.full((32, 64), 0x0200)
    mosaic[8:12:2, 21:24:2] = 0x0FFF  # the red sites of four pixels by four
    truth = bayer_to_bgr(raw(dtld.root / HERE / "DE_0001_k0.tiff", mosaic))
    convert_dataset("dtld", dtld.write(), out.path)
    (jpeg,) = out.path.glob("images/train/*.jpg")
    written = cv2.imread(str(jpeg)).astype(int)
    difference = np.abs(written - truth.astype(int))[8:12, 20:24]
    assert difference.mean() < 6  # with chroma at half the resolution it is 17


def labels_v1(root: Path, digits: list[Any]) -> None:
    boxes = [
        {"x": 8 * i, "y": 2, "width": 5, "height": 9, "class_id": d, "unique_id": i, "track_id": i}
        for i, d in enumerate(digits)
    ]
    path = f"/home/author/{HERE}/DE_0001_k0.tiff"
    record = {"path": path, "disp_path": "", "time_stamp": 1.5, "objects": boxes}
    (root / "DTLD_labels_v1.0").mkdir()
    (root / "DTLD_labels_v1.0" / "DTLD_train.yml").write_text(json.dumps([record]))  # JSON is YAML


def test_version_1_has_its_state_second_from_the_right_whatever_its_length(dtld: Any, out: Any) -> None:
    name = dtld.add("train", HERE, [])
    labels_v1(dtld.root, ["116010", "16020", 116030.0, " 16040 ", "116000.0", "116050"])
    result = convert_dataset("dtld", dtld.root, out.path)
    assert result.labels == "dtld_v1"
    assert out.boxes(name, SIZE_WH)[0] == [0, 0, 2, 5, 11]
    assert [row[0] for row in out.rows(name)] == [0, 1, 0, 2, 3]
    assert result.skipped_objects == {"no class for digit_2 5": 1}


def test_version_1_relevance_needs_a_map_of_ones_own(dtld: Any, out: Any, tmp_path: Path) -> None:
    name = dtld.add("train", HERE, [])
    labels_v1(dtld.root, ["116010", "106010"])
    with pytest.raises(UsageError, match=r"no table \[dtld_v1\].*two ways") as caught:
        convert_dataset("dtld", dtld.root, out.path, classes="relevance")
    assert "version 2" in caught.value.hint
    own = tmp_path / "own.toml"
    own.write_text(
        'names = ["relevant", "not_relevant"]\n[dtld_v1]\nby = "digit_5"\n'
        'classes = { 1 = "relevant", 0 = "not_relevant" }\n'
    )
    convert_dataset("dtld", dtld.root, out.path, classes=str(own))
    assert [row[0] for row in out.rows(name)] == [0, 1]


def test_version_2_wins_where_both_are(dtld: Any, out: Any) -> None:
    dtld.add("train", HERE, [dtld.light(1, 1, 5, 9)])
    labels_v1(dtld.root, ["116010"])
    assert convert_dataset("dtld", dtld.write(), out.path).labels == "dtld"


def test_files_of_single_cities_serve_where_the_official_ones_are_not(dtld: Any, out: Any) -> None:
    for i in range(4):
        dtld.add("train", f"Berlin/Berlin1/2015-04-17_10-50-0{i}", [])
    root = dtld.write()
    (file,) = root.rglob("DTLD_train.json")
    file.rename(file.with_name("Berlin.json"))
    result = convert_dataset("dtld", root, out.path)
    assert result.split == "sequence"
    assert sum(result.images.values()) == 4


def test_a_folder_without_labels_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no DTLD_train\.json"):
        convert_dataset("dtld", tmp_path / "empty", tmp_path / "out")


@pytest.mark.parametrize("text", ["{", "[]", '{"images": 7}', "null"])
def test_labels_that_are_none_are_a_data_error(dtld: Any, out: Any, text: str) -> None:
    dtld.add("train", HERE, [])
    root = dtld.write()
    next(root.rglob("DTLD_train.json")).write_text(text)
    with pytest.raises(DataError):
        convert_dataset("dtld", root, out.path)
    assert not out.path.exists()
