"""What ``data check`` warns of: conditions that are allowed but probably not intended."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from distill.datasets.checked_image import HUGE, TINY_PX, CheckedImage
from edgestill.dataset import IMAGE_SUFFIXES, Dataset, label_path
from edgestill.dataset_files.image_folder import files_under

#: Image formats that only some builds of OpenCV read, or none.
NOT_READ = frozenset(
    {".avif", ".dng", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".mpo", ".pfm", ".ppm"}
)
FOUND = Mapping[str, Sequence[CheckedImage]]


def _is_empty(one: CheckedImage) -> bool:
    return one.has_label_file and one.labels is not None and not len(one.labels)


#: By what is counted of an image: the noun and what is said of so many.
COUNTED: tuple[tuple[Callable[[CheckedImage], int], str, str], ...] = (
    (lambda one: not one.has_label_file, "image", "without a label file, which counts as background"),
    (_is_empty, "image", "with an empty label file, which counts as background"),
    (
        lambda one: one.labels.repeated if one.labels else 0,
        "label row",
        "equal to one in the same file, left out",
    ),
    (lambda one: one.labels.polygons if one.labels else 0, "polygon", "read as the box around it"),
    (lambda one: one.tiny, "box", f"with a side under {TINY_PX:g} px"),
    (lambda one: one.huge, "box", f"over more than {HUGE:.0%} of the image"),
    (
        lambda one: "turned" in one.remarks,
        "image",
        "turned by the EXIF orientation: labels must be those of the turned image",
    ),
    (
        lambda one: "transparent" in one.remarks,
        "image",
        "with transparent pixels, which show the colour that is stored under them",
    ),
    (lambda one: "pages" in one.remarks, "image", "with several pages or frames, of which the first counts"),
    (lambda one: "format" in one.remarks, "image", "of another format than the name says"),
    (lambda one: "deep" in one.remarks, "image", "of 16 bits, of which the upper 8 count"),
    (
        lambda one: "decoder" in one.remarks,
        "image",
        "that the decoder finds unusual, without harm to the pixels",
    ),
)
PLURALS = {"box": "boxes"}


def image_warnings(found: FOUND) -> Iterator[str]:
    """For each split and each condition: how often it holds, and the first file."""
    for split, checked in found.items():
        has_boxes = any(one.labels for one in checked)
        for count, noun, what in COUNTED[0 if has_boxes else 2 :]:
            counts = [(int(count(one)), one.path) for one in checked]
            total = sum(number for number, _ in counts)
            if total:
                first = next(path for number, path in counts if number)
                where = first if noun == "image" else label_path(first)
                yield f"{split} has {_number(total, noun)} {what}, e.g. {where}"
        yield from _shared_labels(split, checked)


def folder_warnings(dataset: Dataset) -> Iterator[str]:
    """Image files in the folders of the splits that are not read: hidden ones and those of other formats."""
    for split, sources in dataset.splits.items():
        hidden: list[Path] = []
        others: list[Path] = []
        for folder in sources:
            read = set(files_under(folder))
            others += sorted(path for path in read if path.suffix.lower() in NOT_READ)
            hidden += sorted(path for path in _every_image(folder) if path not in read)
        if hidden:
            yield f"{split} has {_number(len(hidden), 'hidden image')}, left out, e.g. {hidden[0]}"
        if others:
            suffixes = ", ".join(sorted({path.suffix.lower() for path in others}))
            count = _number(len(others), "file")
            yield f"{split} has {count} that cannot be read ({suffixes}), e.g. {others[0]}"


def yaml_warnings(dataset: Dataset) -> Iterator[str]:
    """What is unusual in ``data.yaml``."""
    yield from dataset.notes
    if dataset.has_download:
        yield "data.yaml has a download entry, which is never run"
    same = defaultdict(list)
    for name in dataset.classes:
        same[name.strip().casefold()].append(name)
    for names in same.values():
        if len(names) > 1:
            yield f"the classes {', '.join(map(repr, names))} differ by case or blanks alone"


def size_warnings(found: FOUND) -> Iterator[str]:
    """A warning if the images of the data set have several sizes."""
    sizes = Counter(one.size for checked in found.values() for one in checked if one.size)
    if len(sizes) > 1:
        ordered = sorted(sizes, key=lambda size: int(size.split("x")[0]) * int(size.split("x")[1]))
        yield f"the images have {len(sizes)} sizes, from {ordered[0]} to {ordered[-1]}"


def _shared_labels(split: str, checked: Sequence[CheckedImage]) -> Iterator[str]:
    owners: dict[Path, list[Path]] = defaultdict(list)
    for one in checked:
        owners[label_path(one.path)].append(one.path)
    shared = {label: paths for label, paths in owners.items() if len(set(paths)) > 1}
    if shared:
        label, (first, second, *_) = next(iter(shared.items()))
        count = _number(len(shared), "label file")
        yield f"{split} has {count} of several images, e.g. {label} of {first.name} and {second.name}"


def _every_image(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root, name) for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun if count == 1 else PLURALS.get(noun, noun + 's')}"
