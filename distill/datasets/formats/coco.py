"""COCO and data sets in its format: ``instances_*.json`` beside the images.

Category numbers have gaps (COCO's 80 go to 90) and become 0 to N-1 in their order. Boxes are x, y, width and
height in pixels. Crowds are one box around many objects, which a detector cannot learn; they are left out.

Source: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from distill.datasets.formats._corner_boxes import corner_warnings
from distill.datasets.formats._files import fields, list_of, read_json
from distill.datasets.formats._paths import ImageFinder, find, listed, name_of, sequence_by
from distill.datasets.formats._records import (
    SHOWN,
    Annotation,
    ImageRecord,
    SourceDataset,
    UnreadableError,
    UnusableError,
)
from distill.datasets.formats._values import box_of_size, flag, identifier, number, pixels
from edgestill.errors import DataError
from edgestill.progress import say

SPLIT = re.compile(r"(?:^|[_.-])(train|val|test)(?:id)?(?:[\d_.-]|$)", re.IGNORECASE)  # val2017, valid
BULKY = ("segmentation", "keypoints")  # most of the file, and not needed
CONTROL = frozenset({"Cc", "Cs"})  # control characters and halves of surrogate pairs, which no file can hold

Id = int | str


@dataclass(slots=True)
class _Objects:
    """The objects of an annotation file by the id of their image, and how many could not be read."""

    boxes: dict[Id, list[Annotation]] = field(default_factory=lambda: defaultdict(list))
    unreadable: Counter[Id] = field(default_factory=Counter)

    def pop(self, image: Id) -> tuple[list[Annotation], int]:
        """The objects of an image and the number of unreadable ones; another call finds none."""
        return self.boxes.pop(image, []), self.unreadable.pop(image, 0)


def read(
    source: Path, *, images: Path | None = None, sequence: re.Pattern[str] | None = None
) -> SourceDataset:
    """Read all annotation files of a folder.

    Args:
        source: The folder, or an annotation file in the folder of its images.
        images: The folder of the images, or one above it, if they are elsewhere.
        sequence: Finds the sequence in an image's file name; without it each image is its own sequence.

    Raises:
        DataError: There are none, or they are not COCO's.
    """
    files = [source] if source.is_file() else _label_files(source)
    root = source.parent if source.is_file() else source
    found = SourceDataset(dialect="coco", has_sequences=sequence is not None)
    categories: dict[Id, str] = {}
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
        finder = ImageFinder(_folders([images] if images else [root, path.parent], path))
        _read_one(path, data, names, found=found, finder=finder, sequence=sequence)
    found.categories = tuple(dict.fromkeys(categories[i] for i in sorted(categories, key=_order)))
    return found


def _order(category: Id) -> tuple[bool, int, str]:
    """Numbers in their order, then names."""
    return (False, category, "") if isinstance(category, int) else (True, 0, category)


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


def _categories(path: Path, rows: Any) -> dict[Id, str]:
    names: dict[Id, str] = {}
    for row in list_of(rows, path, "categories"):
        try:
            category, name = identifier(fields(row).get("id"), "its id"), row.get("name")
        except UnreadableError as error:
            raise _no_category(path, row) from error
        name = " ".join(str(name).split()) if isinstance(name, (str, int, float)) else ""
        if not name or any(unicodedata.category(character) in CONTROL for character in name):
            raise _no_category(path, row)
        if names.setdefault(category, name) != name:
            raise DataError(
                f"category {category} of {path} is {names[category]!r} and {name!r}",
                hint="give each category an id of its own",
            )
    return names


def _no_category(path: Path, row: Any) -> DataError:
    return DataError(
        f"a category in {path} lacks id or name: {str(row)[:SHOWN]}", hint="a category is {id: 1, name: text}"
    )


def _read_one(
    path: Path,
    data: dict[str, Any],
    names: dict[Id, str],
    *,
    found: SourceDataset,
    finder: ImageFinder,
    sequence: re.Pattern[str] | None,
) -> None:
    tags = {i: {"category": name} for i, name in names.items()}  # shared: there are a million objects
    objects = _objects(path, list_of(data["annotations"], path, "annotations"), tags, found)
    match = SPLIT.search(path.stem) or SPLIT.search(path.parent.name)
    entries = list_of(data["images"], path, "images")
    finder.learn(_names(entries))
    record = partial(
        _record,
        found=found,
        finder=finder,
        objects=objects,
        doubled=_doubled_ids(entries),
        split=match[1].lower() if match else "",
        sequence=sequence,
        where=path,
    )
    records = list(found.skipped_images.usable(entries, record, path))
    records = _without_shared_images(records, found)
    found.records += records
    found.warnings += corner_warnings(path, records)
    for image in list(objects.boxes.keys() | objects.unreadable.keys()):
        boxes, unreadable = objects.pop(image)
        found.without_image += len(boxes) + unreadable
        if boxes:
            found.add_unreadable("its image is not listed", f"{path} image_id {image}", len(boxes))


def _names(entries: Sequence[Any]) -> Iterator[PurePosixPath]:
    for entry in entries:
        with suppress(UnusableError):
            yield listed(fields(entry).get("file_name"))


def _doubled_ids(entries: Sequence[Any]) -> set[Id]:
    """Ids that images of different names have."""
    names: dict[Id, set[str]] = defaultdict(set)
    for entry in entries:
        if isinstance(entry, dict):
            with suppress(UnreadableError):
                names[identifier(entry.get("id"), "its id")].add(str(entry.get("file_name")))
    return {image for image, found in names.items() if len(found) > 1}


def _without_shared_images(records: list[ImageRecord], found: SourceDataset) -> list[ImageRecord]:
    """The records without those whose different names lead to one file: the labels are of one of them."""
    names: dict[Path, set[str]] = defaultdict(set)
    for record in records:
        names[record.path].add(record.listed)
    kept = []
    for record in records:
        if len(names[record.path]) == 1:
            kept.append(record)
            continue
        found.skipped_images.add("several names of the labels lead to its file", record.path)
        if record.objects:
            found.add_unreadable("its image has several names", record.path, len(record.objects))
    return kept


def _objects(
    path: Path, rows: Sequence[Any], tags: Mapping[Id, Mapping[str, str]], found: SourceDataset
) -> _Objects:
    objects = _Objects()
    found.objects += len(rows)
    for row in rows:
        image: Id | None = None
        try:
            image = identifier(fields(row).get("image_id"), "its image_id")
            objects.boxes[image].append(_box(tags, row))
        except UnreadableError as error:
            found.add_unreadable(error.reason, f"{path} {str(row)[:SHOWN]}")
            found.without_image += image is None
            if image is not None:
                objects.unreadable[image] += 1
        except UnusableError as error:
            found.skipped_objects.add(error.reason, f"{path} {str(row)[:SHOWN]}")
    return objects


def _box(tags: Mapping[Id, Mapping[str, str]], row: dict[str, Any]) -> Annotation:
    if flag(row.get("iscrowd"), "its iscrowd"):
        raise UnusableError("a crowd (iscrowd)")
    category, box = identifier(row.get("category_id"), "its category_id"), row.get("bbox")
    if category not in tags:
        raise UnreadableError("its category is not listed")
    if not isinstance(box, list) or len(box) != 4:
        raise UnreadableError("its box is not four numbers")
    return Annotation(tags[category], box_of_size(pixels(*map(number, box))))


def _folders(homes: Sequence[Path], path: Path) -> list[Path]:
    """Candidate folders of the images of an annotation file, the most likely first."""
    stem = path.stem.removeprefix("instances_")
    return [home / name for home in homes for name in (stem, f"images/{stem}", "images", "")]


def _record(
    image: Any,
    *,
    found: SourceDataset,
    finder: ImageFinder,
    objects: _Objects,
    doubled: set[Id],
    split: str,
    sequence: re.Pattern[str] | None,
    where: Path,
) -> ImageRecord:
    image = fields(image)
    id_ = identifier(image.get("id"), "its id")
    boxes, unreadable = objects.pop(id_)
    try:
        named, size_wh = _name_and_size(image, doubled=id_ in doubled)
    except UnusableError as error:
        if boxes:
            found.add_unreadable(error.reason, f"{where} image {id_}", len(boxes))
        raise
    found.give_up_if(unreadable > 0, len(boxes))
    path, name_path = finder.find(named)
    name = "-".join(name_path.with_suffix("").parts)
    return ImageRecord(
        path=path,
        name=name_of("coco", split if split not in name else "", name),
        listed=str(named),
        sequence=sequence_by(sequence, name),
        split=split,
        size_wh=size_wh,
        objects=boxes,
    )


def _name_and_size(image: dict[str, Any], *, doubled: bool) -> tuple[PurePosixPath, tuple[int, int]]:
    if doubled:
        raise UnusableError("another image has its id")
    width, height = (int(number(image.get(side), f"its {side}")) for side in ("width", "height"))
    return listed(image.get("file_name")), (width, height)
