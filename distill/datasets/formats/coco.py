"""COCO and data sets in its format: ``instances_*.json`` beside the images.

Category numbers have gaps (COCO's 80 go to 90) and become 0 to N-1 in their order. Boxes are x, y, width and
height in pixels. Crowds are one box around many objects, which a detector cannot learn; they are left out.

Source: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from distill.datasets.formats._files import fields, list_of, read_json
from distill.datasets.formats._records import (
    Annotation,
    ImageRecord,
    SkipCounter,
    SourceDataset,
    UnusableError,
    find,
    name_of,
    number,
    relative,
    sequence_by,
)
from edgestill.errors import DataError
from edgestill.progress import say

SPLIT = re.compile(r"(?:^|[_.-])(train|val|test)(?:id)?(?:[\d_.-]|$)", re.IGNORECASE)  # val2017, valid
BULKY = ("segmentation", "keypoints")  # most of the file, and not needed


def read(source: Path, *, sequence: re.Pattern[str] | None = None) -> SourceDataset:
    """Read all annotation files of a folder.

    Args:
        source: The folder, or an annotation file in the folder of its images.
        sequence: Finds the sequence in an image's file name; without it each image is its own sequence.

    Raises:
        DataError: There are none, or they are not COCO's.
    """
    files = [source] if source.is_file() else _label_files(source)
    root = source.parent if source.is_file() else source
    found = SourceDataset(dialect="coco", has_sequences=sequence is not None)
    categories: dict[int, str] = {}
    for path in files:
        say(f"reading {path}")
        data = read_json(path, _slim)
        if not isinstance(data, dict) or not {"images", "annotations", "categories"} <= data.keys():
            raise DataError(f"{path} is not COCO: it lacks images, annotations or categories", hint=_HINT)
        names = _categories(path, data["categories"])
        for number_, name in names.items():
            if categories.setdefault(number_, name) != name:
                raise DataError(
                    f"category {number_} is {name!r} in {path} and {categories[number_]!r} elsewhere",
                    hint="convert the two files one by one",
                )
        _read_one(root, path, data, found, sequence)
    found.categories = tuple(dict.fromkeys(categories[i] for i in sorted(categories)))
    return found


_HINT = "it looks for instances_*.json and *coco.json, e.g. annotations/instances_train2017.json"


def _label_files(source: Path) -> list[Path]:
    files = find(source, "instances_*.json", 2) or find(source, "*coco.json", 2)
    if not files:
        raise DataError(f"{source} holds no annotation file", hint=_HINT)
    return files


def _slim(value: dict[str, Any]) -> dict[str, Any]:
    for key in BULKY:
        value.pop(key, None)
    return value


def _categories(path: Path, rows: Any) -> dict[int, str]:
    try:
        return {int(row["id"]): str(row["name"]) for row in list_of(rows, path, "categories")}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"a category in {path} lacks id or name", hint="download the labels again") from error


def _read_one(
    root: Path, path: Path, data: dict[str, Any], found: SourceDataset, sequence: re.Pattern[str] | None
) -> None:
    names = _categories(path, data["categories"])
    tags = {i: {"category": name} for i, name in names.items()}  # shared: there are a million objects
    boxes = _boxes(list_of(data["annotations"], path, "annotations"), tags, found.skipped_objects)
    folders = _folders(root, path)
    match = SPLIT.search(path.stem) or SPLIT.search(path.parent.name)
    split = match[1].lower() if match else ""
    record = partial(_record, folders, split, boxes, sequence)
    found.records += found.skipped_images.usable(list_of(data["images"], path, "images"), record, path)
    if boxes:
        found.skipped_objects.add("its image is not listed", times=sum(map(len, boxes.values())))


def _boxes(rows: Iterable[Any], tags: dict[int, Any], left_out: SkipCounter) -> dict[Any, list[Annotation]]:
    """Objects by the number of their image."""
    boxes: dict[Any, list[Annotation]] = defaultdict(list)
    for image, box in left_out.usable(rows, partial(_box, tags)):
        boxes[image].append(box)
    return boxes


def _box(tags: dict[int, Any], row: Any) -> tuple[Any, Annotation]:
    row = fields(row)
    if row.get("iscrowd"):
        raise UnusableError("a crowd (iscrowd)")
    image, category, box = row.get("image_id"), row.get("category_id"), row.get("bbox")
    if not isinstance(image, (int, str)):
        raise UnusableError("it names no image")
    if not isinstance(category, int) or category not in tags:
        raise UnusableError("its category is not listed")
    if not isinstance(box, list) or len(box) != 4:
        raise UnusableError("its box is not four numbers")
    x, y, width, height = map(number, box)
    return image, Annotation(tags[category], (x, y, x + width, y + height))


def _folders(root: Path, path: Path) -> list[Path]:
    """Candidate folders of the images of an annotation file, the most likely first."""
    stem = path.stem.removeprefix("instances_")
    names = (stem, f"images/{stem}", "images", "")
    return list(dict.fromkeys(home / name for home in (root, path.parent) for name in names))


def _record(
    folders: list[Path],
    split: str,
    boxes: dict[Any, list[Annotation]],
    sequence: re.Pattern[str] | None,
    image: Any,
) -> ImageRecord:
    image = fields(image)
    objects = boxes.pop(image.get("id"), [])
    path = relative(image.get("file_name", ""))
    width, height = int(number(image.get("width"))), int(number(image.get("height")))
    name = "-".join(path.with_suffix("").parts)
    return ImageRecord(
        path=_find_image(folders, path),
        name=name_of("coco", split if split not in name else "", name),
        sequence=sequence_by(sequence, name),
        split=split,
        size_wh=(width, height),
        objects=objects,
    )


def _find_image(folders: list[Path], path: PurePosixPath) -> Path:
    # COCO has 118,287 images: try the folder of the last one first.
    for i, folder in enumerate(folders):
        if (folder / path).is_file():
            folders.insert(0, folders.pop(i))
            return folder / path
    return folders[0] / path
