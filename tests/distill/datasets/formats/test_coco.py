"""COCO: numbers with gaps, crowds, one class of many."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from distill.datasets.convert import convert_dataset
from edgestill.errors import DataError, UsageError

SIZE_WH = (64, 48)
BOX = {"category_id": 1, "bbox": [4, 2, 10, 20]}
MANY = [{"category_id": 1, "bbox": [3 * i, 2, 2, 20]} for i in range(20)]


def test_numbers_with_gaps_become_contiguous_in_their_order(coco: Any, out: Any) -> None:
    objects = [{"category_id": i, "bbox": [4, 2, 10, 20]} for i in (10, 1, 90)]
    name = coco.add("val", objects)
    result = convert_dataset("coco", coco.write(), out.path)
    assert result.classes == ("person", "traffic light", "toothbrush")
    assert out.boxes(name, SIZE_WH) == [[i, 4, 2, 14, 22] for i in (1, 0, 2)]


def test_crowds_are_left_out(coco: Any, out: Any) -> None:
    name = coco.add("train", [BOX, BOX | {"iscrowd": 1, "segmentation": {}}])
    result = convert_dataset("coco", coco.write(), out.path)
    assert len(out.rows(name)) == 1
    assert result.unreadable_objects == {}
    assert result.skipped_objects == {"a crowd (iscrowd)": 1}


def test_the_map_light_keeps_traffic_lights_only(coco: Any, out: Any) -> None:
    name = coco.add("train", [{"category_id": i, "bbox": [4, 2, 10, 20]} for i in (1, 10, 90)])
    result = convert_dataset("coco", coco.write(), out.path, classes="light")
    assert result.classes == ("light",)
    assert [row[0] for row in out.rows(name)] == [0]
    assert result.skipped_objects == {
        "no class for category person": 1,
        "no class for category toothbrush": 1,
    }


def test_coco_does_not_tell_states(coco: Any, out: Any) -> None:
    coco.add("train", [])
    with pytest.raises(UsageError, match=r"no table \[coco\]"):
        convert_dataset("coco", coco.write(), out.path, classes="state")


def test_the_official_splits_stay(coco: Any, out: Any) -> None:
    names = {coco.add(split, []): split for split in ("train", "train", "val")}
    result = convert_dataset("coco", coco.write(), out.path)
    assert out.splits() == names
    assert (result.split, result.sequences, result.warnings) == ("official", None, ())


def test_pictures_without_annotations_are_negatives(coco: Any, out: Any) -> None:
    coco.add("train", [])
    assert convert_dataset("coco", coco.write(), out.path).without_boxes == {"train": 1}


@pytest.mark.parametrize(
    "broken",
    [
        {"category_id": 1},
        BOX | {"category_id": 2},
        BOX | {"category_id": "person"},
        BOX | {"category_id": True},
        BOX | {"category_id": None},
        BOX | {"bbox": [1, 1, 5]},
        BOX | {"bbox": [1, 1, 5, 5, 0.9]},
        BOX | {"bbox": [1, None, 5, 5]},
        BOX | {"bbox": ["1,5", "1", "5", "5"]},
        BOX | {"bbox": [1, 1, float("nan"), 5]},
        BOX | {"bbox": [1, 1, 10**400, 5]},
        BOX | {"bbox": "1 1 5 5"},
        BOX | {"bbox": {"x": 1}},
        BOX | {"bbox": [9, 9, -5, 5]},
        BOX | {"bbox": [0.1, 0.2, 0.3, 0.4]},
        BOX | {"iscrowd": "maybe"},
        BOX | {"iscrowd": 2},
    ],
)
def test_a_picture_with_an_object_that_cannot_be_read_is_left_out(
    coco: Any, out: Any, broken: dict[str, Any]
) -> None:
    coco.add("train", [BOX, broken])
    name = coco.add("train", MANY)
    result = convert_dataset("coco", coco.write(), out.path)
    assert set(out.splits()) == {name}
    assert result.skipped_pictures == {"an object in it could not be read": 1}
    assert sum(result.unreadable_objects.values()) == 1
    assert any("1 of 22 objects could not be read" in w and "image_id" in w for w in result.warnings)


@pytest.mark.parametrize(
    "change",
    [
        {"category_id": "1"},
        {"category_id": 1.0},
        {"category_id": " 1.0 "},
        {"image_id": 1.0},
        {"image_id": "1"},
        {"image_id": "0001"},
        {"bbox": ["4", " 2 ", "10.0", 20.0]},
        {"iscrowd": "0"},
        {"iscrowd": False},
        {"iscrowd": "false"},
        {"iscrowd": None},
        {"iscrowd": 0.0},
    ],
)
def test_ids_numbers_and_flags_are_read_in_any_spelling(coco: Any, out: Any, change: dict[str, Any]) -> None:
    name = coco.add("train", [BOX | change])
    result = convert_dataset("coco", coco.write(), out.path)
    assert out.boxes(name, SIZE_WH) == [[0, 4, 2, 14, 22]]
    assert result.skipped_objects == {}


@pytest.mark.parametrize("crowd", [1, "1", True, "true", "True", 1.0, "1.0", "yes"])
def test_crowds_are_recognised_in_any_spelling(coco: Any, out: Any, crowd: Any) -> None:
    coco.add("train", [BOX, BOX | {"iscrowd": crowd}])
    result = convert_dataset("coco", coco.write(), out.path)
    assert result.skipped_objects == {"a crowd (iscrowd)": 1}


@pytest.mark.parametrize(
    ("file", "image"),
    [("id", "1"), ("id", 1.0), ("width", "64"), ("height", 48.0)],
)
def test_entries_of_pictures_are_read_in_any_spelling(coco: Any, out: Any, file: str, image: Any) -> None:
    name = coco.add("train", [BOX])
    coco.data["train"]["images"][0][file] = image
    convert_dataset("coco", coco.write(), out.path)
    assert len(out.rows(name)) == 1


def test_ids_may_be_words(coco: Any, out: Any) -> None:
    coco.add("train", [BOX | {"image_id": "img-7"}], id="img-7")
    root = coco.write()
    (path,) = root.rglob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"categories": [{"id": "1", "name": 5}]}))
    result = convert_dataset("coco", root, out.path)
    assert result.classes == ("5",)
    assert result.boxes["train"] == {"5": 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bbox": [0.1, 0.2, 0.05, 0.06]}, "its box is in fractions of the image, not in pixels"),
        ({"bbox": ["0,1", "0,2", "5", "6"]}, "a coordinate is not a number"),
        ({"category_id": 7}, "its category is not listed"),
        ({"image_id": 99}, "its image is not listed"),
        ({"image_id": None}, "its image_id is not an id"),
    ],
)
def test_objects_that_cannot_be_read_make_no_background(
    coco: Any, out: Any, change: dict[str, Any], reason: str
) -> None:
    for _ in range(3):
        coco.add("train", [BOX | change])
    with pytest.raises(DataError, match=rf"no object could be converted: {reason} \(3\)") as caught:
        convert_dataset("coco", coco.write(), out.path)
    assert "instances_train2017.json" in caught.value.hint
    assert not out.path.exists()


@pytest.mark.parametrize("count", [18, 19])
def test_more_than_one_in_twenty_is_too_many(coco: Any, out: Any, count: int) -> None:
    coco.add("train", MANY[:count])
    coco.add("train", [BOX | {"category_id": None}])
    root = coco.write()
    if count == 19:
        assert convert_dataset("coco", root, out.path).unreadable_objects == {
            "its category_id is not an id": 1
        }
    else:
        with pytest.raises(DataError, match="1 of 19 objects could not be read, more than 5%"):
            convert_dataset("coco", root, out.path)


def test_an_object_of_no_listed_picture_is_told(coco: Any, out: Any) -> None:
    coco.add("train", MANY)
    coco.add("train", [BOX | {"image_id": 999}])
    result = convert_dataset("coco", coco.write(), out.path)
    assert result.unreadable_objects == {"its image is not listed": 1}
    assert any("images without boxes may show them" in warning for warning in result.warnings)


@pytest.mark.parametrize("bbox", [[1, 1, 0, 5], [100, 1, 5, 5]])
def test_a_box_that_shows_nothing_is_left_out_alone(coco: Any, out: Any, bbox: list[int]) -> None:
    name = coco.add("train", [BOX, BOX | {"bbox": bbox}])
    result = convert_dataset("coco", coco.write(), out.path)
    assert len(out.rows(name)) == 1
    assert result.unreadable_objects == {}
    assert any("1 of 2 boxes have no area or lie outside" in warning for warning in result.warnings)


def test_corners_in_place_of_width_and_height_are_refused(coco: Any, out: Any) -> None:
    for x in (4, 20, 36):
        coco.add("train", [BOX | {"bbox": [x, 10, x + 22, 30]}])
    with pytest.raises(DataError, match=r"x1, y1, x2, y2 and not x, y, width, height.* 1 of 3 leave"):
        convert_dataset("coco", coco.write(), out.path)


def test_boxes_that_could_be_corners_are_told(coco: Any, out: Any) -> None:
    coco.add("train", [BOX | {"bbox": [i, 1, i + 10, 20]} for i in range(12)])
    result = convert_dataset("coco", coco.write(), out.path)
    assert any("x1, y1, x2, y2 in place of" in warning for warning in result.warnings)


def test_large_boxes_are_no_corners(coco: Any, out: Any) -> None:
    coco.add("train", [BOX | {"bbox": [0, 0, 64, 48 - i]} for i in range(12)])
    assert not any("x1" in warning for warning in convert_dataset("coco", coco.write(), out.path).warnings)


def test_one_id_for_two_pictures_leaves_both_out(coco: Any, out: Any) -> None:
    for _ in range(2):
        coco.add("train", [BOX | {"image_id": 1}], id=1)
    with pytest.raises(DataError, match=r"no object could be converted: another image has its id \(2\)"):
        convert_dataset("coco", coco.write(), out.path)


def test_two_entries_of_one_picture_are_joined(coco: Any, out: Any) -> None:
    name = coco.add("train", [BOX], file_name="x.jpg")
    coco.add("train", [BOX | {"bbox": [30, 2, 10, 20]}], file_name="x.jpg")
    result = convert_dataset("coco", coco.write(), out.path)
    assert len(out.rows(name)) == 2
    assert any("several entries" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    "file_name",
    [
        "images\\x.jpg",
        "C:\\Users\\me\\x.jpg",
        "/data/upload/x.jpg",
        "../../media/x.jpg",
        "https://example.org/media/x.jpg?size=1",
        "./x.jpg",
        " x.jpg ",
        "X.JPG",
    ],
)
def test_a_path_of_another_machine_leads_to_the_picture(coco: Any, out: Any, file_name: str) -> None:
    coco.add("train", [BOX], file_name="x.jpg")
    coco.data["train"]["images"][0]["file_name"] = file_name
    result = convert_dataset("coco", coco.write(), out.path)
    assert result.boxes["train"]["person"] == 1
    assert result.skipped_pictures == {}


def test_a_missing_picture_is_not_taken_for_another_of_its_name(coco: Any, out: Any) -> None:
    name = coco.add("train", [BOX], file_name="1.jpg")
    coco.data["train"]["images"][0]["file_name"] = "b/1.jpg"
    coco.add("train", [BOX], file_name="a/1.jpg")
    result = convert_dataset("coco", coco.write(), out.path)
    assert name not in out.splits()
    assert result.skipped_pictures == {"the image is not there": 1}


def test_two_names_that_lead_to_one_file_are_not_guessed(coco: Any, out: Any) -> None:
    for folder in ("a", "b"):
        coco.add("train", [BOX], file_name="x.jpg")
        coco.data["train"]["images"][-1]["file_name"] = f"{folder}/x.jpg"
    with pytest.raises(DataError, match=r"its image has several names \(2\)"):
        convert_dataset("coco", coco.write(), out.path)


def test_pictures_whose_names_become_equal_are_both_kept(coco: Any, out: Any) -> None:
    for file_name in ("a b.jpg", "a-b.jpg", "a-b.png", "A-B.jpg", "a/b.jpg"):
        coco.add("train", [BOX], file_name=file_name)
    result = convert_dataset("coco", coco.write(), out.path)
    assert result.boxes["train"]["person"] == 5 - result.images.get("val", 0)
    assert len({name.casefold() for name in out.splits()}) == 5


def test_a_name_that_is_as_long_as_can_be_is_shortened(coco: Any, out: Any) -> None:
    coco.add("train", [BOX], file_name="信" * 80 + "x" * 10 + ".jpg")
    coco.add("train", [BOX], file_name="x" * 251 + ".jpg")
    result = convert_dataset("coco", coco.write(), out.path)
    assert (sum(result.images.values()), result.skipped_pictures) == (2, {})


@pytest.mark.parametrize("file_name", [None, 7, " ", "..", "x" * 300 + ".jpg", "a\0.jpg", "\ud800.jpg"])
def test_objects_of_a_picture_whose_name_cannot_be_read_count(coco: Any, out: Any, file_name: Any) -> None:
    for _ in range(2):
        coco.add("train", [BOX])
    coco.data["train"]["images"][1]["file_name"] = file_name
    with pytest.raises(DataError, match=r"1 of 2 objects could not be read.*file name"):
        convert_dataset("coco", coco.write(), out.path)


@pytest.mark.parametrize("name", [None, "", " ", ["a"], {}, "a\ud800", "a\x07"])
def test_a_category_without_a_name_is_a_data_error(coco: Any, out: Any, name: Any) -> None:
    coco.add("train", [BOX])
    root = coco.write()
    (path,) = root.rglob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"categories": [{"id": 1, "name": name}]}))
    with pytest.raises(DataError, match=r"a category in .* lacks id or name"):
        convert_dataset("coco", root, out.path)


def test_one_category_id_with_two_names_is_a_data_error(coco: Any, out: Any) -> None:
    coco.add("train", [BOX])
    root = coco.write()
    (path,) = root.rglob("*.json")
    categories = [{"id": 1, "name": "red"}, {"id": "1", "name": "green"}]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"categories": categories}))
    with pytest.raises(DataError, match=r"category 1 of .* is 'red' and 'green'"):
        convert_dataset("coco", root, out.path)


@pytest.mark.parametrize("where", ["elsewhere", "elsewhere/images", "elsewhere/train2017"])
def test_pictures_may_lie_elsewhere(coco: Any, out: Any, tmp_path: Path, where: str) -> None:
    name = coco.add("train", [BOX])
    root = coco.write()
    (tmp_path / where).parent.mkdir(exist_ok=True)
    (root / "train2017").rename(tmp_path / where)
    with pytest.raises(
        DataError, match=r"no image could be converted: the image is not there \(1\)"
    ) as caught:
        convert_dataset("coco", root, out.path)
    assert "--images DIR" in caught.value.hint
    result = convert_dataset("coco", root, out.path, options={"images": tmp_path / "elsewhere"})
    assert result.boxes["train"]["person"] == 1
    assert len(out.rows(name)) == 1


def test_pictures_that_are_not_there_are_counted_with_the_first(coco: Any, out: Any) -> None:
    for _ in range(3):
        coco.add("train", [BOX])
    root = coco.write()
    for number in (1, 3):
        (root / "train2017" / f"{number:012d}.jpg").unlink()
    (warning,) = (w for w in convert_dataset("coco", root, out.path).warnings if "not there" in w)
    assert warning.startswith("2 images are not there, the first ")
    assert "000000000001.jpg" in warning
    assert "--images DIR" in warning


def test_a_folder_of_pictures_that_is_not_there_is_a_data_error(coco: Any, out: Any, tmp_path: Path) -> None:
    coco.add("train", [BOX])
    with pytest.raises(DataError, match="is not a folder"):
        convert_dataset("coco", coco.write(), out.path, options={"images": tmp_path / "gone"})


def test_the_same_box_twice_is_written_once(coco: Any, out: Any) -> None:
    name = coco.add("train", [{"category_id": 1, "bbox": [4, 2, 10, 20]}] * 2)
    result = convert_dataset("coco", coco.write(), out.path)
    assert len(out.rows(name)) == 1
    assert result.skipped_objects == {"the same box twice": 1}


@pytest.mark.parametrize(
    "image", [{"width": 48, "height": 64}, {"width": None}, {"file_name": "../../x.jpg"}, {"file_name": ""}]
)
def test_a_broken_picture_entry_stops_nothing(coco: Any, out: Any, image: dict[str, Any]) -> None:
    coco.add("train", [])
    coco.add("train", [])
    coco.data["train"]["images"][1] |= image
    result = convert_dataset("coco", coco.write(), out.path)
    assert sum(result.images.values()) == 1
    assert sum(result.skipped_pictures.values()) == 1


def test_a_truncated_picture_is_counted_and_not_linked(coco: Any, out: Any) -> None:
    coco.add("train", [])
    name = coco.add("train", [])
    path = coco.root / "train2017" / f"{name[-12:]}.jpg"
    path.write_bytes(path.read_bytes()[:300])
    result = convert_dataset("coco", coco.write(), out.path)
    assert result.skipped_pictures == {"the image is broken": 1}
    assert name not in out.splits()


def test_without_official_splits_a_pattern_keeps_frames_of_a_video_together(out: Any, tmp_path: Path) -> None:
    root = tmp_path / "own"
    root.mkdir()
    images = []
    for i in range(40):
        name = f"clip{i // 4}_{i % 4}.jpg"
        cv2.imwrite(str(root / name), np.full((8, 8, 3), i, np.uint8))
        images.append({"id": i, "file_name": name, "width": 8, "height": 8})
    data = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "light"}]}
    (root / "my.coco.json").write_text(json.dumps(data))
    loose = convert_dataset("coco", root, tmp_path / "loose")
    assert any("one by one" in warning for warning in loose.warnings)

    import re

    result = convert_dataset("coco", root, out.path, options={"sequence": re.compile(r"^(clip\d+)_")})
    assert not any("one by one" in warning for warning in result.warnings)
    places: dict[str, set[str]] = {}
    for name, split in out.splits().items():
        places.setdefault(name.split("_")[1], set()).add(split)
    assert len(places) == 10
    assert all(len(found) == 1 for found in places.values())


def test_an_annotation_file_may_be_named_itself(coco: Any, out: Any) -> None:
    coco.add("train", [])
    coco.add("val", [])
    root = coco.write()
    file = (root / "annotations" / "instances_train2017.json").rename(root / "instances_train2017.json")
    assert convert_dataset("coco", file, out.path).images == {"train": 1}


def test_categories_that_disagree_are_a_data_error(coco: Any, out: Any) -> None:
    coco.add("train", [])
    coco.add("val", [])
    root = coco.write()
    path = root / "annotations" / "instances_val2017.json"
    path.write_text(path.read_text().replace("person", "dog"))
    with pytest.raises(DataError, match="category 1 is 'dog'"):
        convert_dataset("coco", root, out.path)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"images": []}', '{"images": [], "annotations": 1, "categories": []}']
)
def test_another_json_is_a_data_error(coco: Any, out: Any, text: str) -> None:
    coco.add("train", [])
    root = coco.write()
    next(root.rglob("*.json")).write_text(text)
    with pytest.raises(DataError):
        convert_dataset("coco", root, out.path)
