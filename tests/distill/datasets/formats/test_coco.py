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


def test_numbers_with_gaps_become_contiguous_in_their_order(coco: Any, out: Any) -> None:
    objects = [{"category_id": i, "bbox": [4, 2, 10, 20]} for i in (10, 1, 90)]
    name = coco.add("val", objects)
    result = convert_dataset("coco", coco.write(), out.path)
    assert result.classes == ("person", "traffic light", "toothbrush")
    assert out.boxes(name, SIZE_WH) == [[i, 4, 2, 14, 22] for i in (1, 0, 2)]


def test_crowds_are_left_out(coco: Any, out: Any) -> None:
    name = coco.add("train", [{"category_id": 1, "bbox": [4, 2, 10, 20], "iscrowd": 1, "segmentation": {}}])
    result = convert_dataset("coco", coco.write(), out.path)
    assert out.rows(name) == []
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
        {"category_id": 2, "bbox": [1, 1, 5, 5]},
        {"category_id": 1, "bbox": [1, 1, 5]},
        {"category_id": 1, "bbox": [1, None, 5, 5]},
        {"category_id": 1, "bbox": [1, 1, 5, 5], "image_id": 999},
        {"category_id": 1, "bbox": [1, 1, 0, 5]},
        {"category_id": 1, "bbox": [100, 1, 5, 5]},
    ],
)
def test_a_broken_annotation_stops_nothing(coco: Any, out: Any, broken: dict[str, Any]) -> None:
    name = coco.add("train", [{"category_id": 1, "bbox": [4, 2, 10, 20]}, broken])
    result = convert_dataset("coco", coco.write(), out.path)
    assert len(out.rows(name)) == 1
    assert sum(result.skipped_objects.values()) == 1


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
