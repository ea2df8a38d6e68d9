"""BSTLD: swapped corners, boxes beyond the border, a lamp that YAML takes for False, raw images."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from distill.datasets.convert import convert_dataset
from edgestill.errors import DataError

DRIVE = "rgb/train/2015-10-05-10-52-01_bag"
NAME = "bstld_train-2015-10-05-10-52-01_bag_10"
SIZE_WH = (1280, 720)


def test_swapped_corners_are_sorted_and_boxes_clipped_as_the_data_set_does(bstld: Any, out: Any) -> None:
    boxes = [bstld.lamp(30.5, 40, 20.25, 20), bstld.lamp(1270, 700, 1285.5, 725), bstld.lamp(-3, -2, 4, 5)]
    bstld.add("train", f"{DRIVE}/10.png", boxes)
    convert_dataset("bstld", bstld.write(), out.path)
    assert out.boxes(NAME, SIZE_WH) == [
        [0, 20.25, 20, 30.5, 40],
        [0, 1270, 700, 1279, 719],
        [0, 0, 0, 4, 5],
    ]


def test_all_thirteen_labels_become_four_classes(bstld: Any, out: Any) -> None:
    states = {
        0: ("Red", "RedLeft", "RedRight", "RedStraight", "RedStraightLeft"),
        1: ("Yellow",),
        2: (
            "Green",
            "GreenLeft",
            "GreenRight",
            "GreenStraight",
            "GreenStraightLeft",
            "GreenStraightRight",
        ),
        3: ("off",),
    }
    labels = [(class_id, label) for class_id, names in states.items() for label in names]
    assert len(labels) == 13
    boxes = [bstld.lamp(20 * i, 5, 20 * i + 9, 30, label) for i, (_, label) in enumerate(labels)]
    bstld.add("train", f"{DRIVE}/10.png", boxes)
    result = convert_dataset("bstld", bstld.write(), out.path)
    assert result.classes == ("red", "yellow", "green", "off")
    assert [row[0] for row in out.rows(NAME)] == [class_id for class_id, _ in labels]
    assert result.skipped_objects == {}


def test_a_bare_off_is_a_word_and_not_false(bstld: Any, out: Any) -> None:
    bstld.add("train", f"{DRIVE}/10.png", [bstld.lamp(5, 5, 9, 20, "off")])
    root = bstld.write()
    assert "label: off" in (root / "train.yaml").read_text()
    convert_dataset("bstld", root, out.path)
    assert [row[0] for row in out.rows(NAME)] == [3]


def test_pictures_without_boxes_are_negatives(bstld: Any, out: Any) -> None:
    bstld.add("train", f"{DRIVE}/10.png", [])
    result = convert_dataset("bstld", bstld.write(), out.path)
    assert result.without_boxes == {"train": 1}
    assert out.rows(NAME) == []


def test_the_authors_absolute_paths_are_cut_at_the_folder_rgb(bstld: Any, out: Any) -> None:
    bstld.add("test", "rgb/test/24068.png", [], listed="/net/rgb/store/data/rgb/test/24068.png")
    result = convert_dataset("bstld", bstld.write(), out.path)
    assert result.images == {"test": 1}


@pytest.mark.parametrize("path", ["/etc/passwd", "rgb/../../../x.png", "", 7])
def test_a_path_that_leads_elsewhere_is_counted(bstld: Any, out: Any, path: Any) -> None:
    bstld.add("train", f"{DRIVE}/10.png", [])
    bstld.add("train", f"{DRIVE}/12.png", [], listed=path or "./")
    result = convert_dataset("bstld", bstld.write(), out.path)
    assert sum(result.skipped_pictures.values()) == 1


def test_the_official_split_stays_and_additional_pictures_are_for_training(bstld: Any, out: Any) -> None:
    for i in range(3):
        bstld.add("train", f"rgb/train/drive{i}_bag/{i}.png", [])
    bstld.add("additional_train", "rgb/additional/more_bag/7.png", [])
    bstld.add("test", "rgb/test/8.png", [])
    result = convert_dataset("bstld", bstld.write(), out.path)
    assert result.split == "official"
    assert result.images["test"] == 1
    assert result.images["train"] + result.images["val"] == 4
    assert out.splits()["bstld_test_8"] == "test"


def test_raw_pictures_serve_where_the_others_are_not_and_boxes_move_by_8_lines(bstld: Any, out: Any) -> None:
    bstld.add("train", f"{DRIVE}/10.png", [bstld.lamp(100, 50, 110, 80), bstld.lamp(1270, 700, 1300, 730)])
    root = bstld.write()
    (root / DRIVE / "10.png").unlink()
    raw = root / DRIVE.replace("rgb", "riib") / "10.pgm"
    raw.parent.mkdir(parents=True)
    cv2.imwrite(str(raw), np.full((736, 1280), 0x0FFF, np.uint16))
    result = convert_dataset("bstld", root, out.path)
    assert result.pictures == {"decoded": 1}
    assert out.boxes(NAME, (1280, 736)) == [[0, 100, 58, 110, 88], [0, 1270, 708, 1279, 727]]
    (written,) = out.path.glob("images/train/*.jpg")
    assert cv2.imread(str(written)).min() == 255


def test_colour_pictures_win_over_raw_ones(bstld: Any, out: Any) -> None:
    bstld.add("train", f"{DRIVE}/10.png", [bstld.lamp(100, 50, 110, 80)])
    root = bstld.write()
    raw = root / DRIVE.replace("rgb", "riib") / "10.pgm"
    raw.parent.mkdir(parents=True)
    cv2.imwrite(str(raw), np.zeros((736, 1280), np.uint16))
    convert_dataset("bstld", root, out.path)
    assert out.boxes(NAME, SIZE_WH) == [[0, 100, 50, 110, 80]]


def test_yaml_that_would_run_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train.yaml").write_text(
        f"- !!python/object/apply:os.mkdir ['{tmp_path}/made']\n", "utf-8"
    )
    with pytest.raises(DataError, match="not readable YAML"):
        convert_dataset("bstld", tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("text", ["[" * 60_000, "- " * 60_000, '{"a": ' * 200, "- [[" + "[" * 98])
def test_yaml_that_is_nested_deeper_than_the_parsers_stack_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train.yaml").write_text(text, "utf-8")
    with pytest.raises(DataError, match="is not readable YAML: it is nested more than 100 deep"):
        convert_dataset("bstld", tmp_path / "in", tmp_path / "out")


RED = {"label": "Red", "occluded": False, "x_min": 5, "y_min": 5, "x_max": 9, "y_max": 20}


@pytest.mark.default_cases("box0", "box4", "Red", "None")
@pytest.mark.parametrize(
    "box",
    [
        {},
        RED | {"x_min": ".nan"},
        RED | {"x_min": "1,5"},
        RED | {"label": None},
        RED | {"label": ["Red"]},
        RED | {"occluded": "partly"},
        RED | {"x_min": 0.1, "y_min": 0.2, "x_max": 0.3, "y_max": 0.4},
        "Red",
        None,
    ],
)
def test_a_picture_with_a_box_that_cannot_be_read_is_left_out(bstld: Any, out: Any, box: Any) -> None:
    bstld.add("train", f"{DRIVE}/10.png", [bstld.lamp(5, 5, 9, 20)])
    bstld.add("train", f"{DRIVE}/12.png", [bstld.lamp(20 * i, 5, 20 * i + 9, 20) for i in range(20)])
    bstld.files["train"][0]["boxes"].append(box)
    result = convert_dataset("bstld", bstld.write(), out.path)
    assert set(out.splits()) == {NAME[:-2] + "12"}
    assert result.skipped_pictures == {"an object in it could not be read": 1}
    assert sum(result.unreadable_objects.values()) == 1


@pytest.mark.parametrize(
    ("text", "tag"), [("True", "true"), ("0", "false"), ("yes", "true"), ("'1'", "true")]
)
def test_occluded_is_read_in_any_spelling(bstld: Any, out: Any, text: str, tag: str) -> None:
    bstld.add("train", f"{DRIVE}/10.png", [bstld.lamp(5, 5, 9, 20)])
    path = bstld.write() / "train.yaml"
    path.write_text(path.read_text().replace("occluded: false", f"occluded: {text}"))
    result = convert_dataset("bstld", bstld.root, out.path)
    (line,) = result.objects.read_text().splitlines()
    assert json.loads(line)["objects"][0]["occluded"] == tag


def test_pictures_may_lie_elsewhere(bstld: Any, out: Any, tmp_path: Path) -> None:
    bstld.add("train", f"{DRIVE}/10.png", [bstld.lamp(5, 5, 9, 20)])
    root = bstld.write()
    (root / "rgb").rename(tmp_path / "rgb")
    (tmp_path / "disk").mkdir()
    (tmp_path / "rgb").rename(tmp_path / "disk" / "rgb")
    result = convert_dataset("bstld", root, out.path, options={"images": tmp_path / "disk"})
    assert result.boxes["train"]["red"] == 1


def test_a_folder_without_labels_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"neither train\.yaml"):
        convert_dataset("bstld", tmp_path / "empty", tmp_path / "out")
