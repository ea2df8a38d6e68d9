"""Pascal VOC and data sets in its format: one XML file per image.

Pixels count from 1 and both corners belong to the box, so a box from 1 to 10 covers the first ten columns.
Objects marked difficult are left out unless a class map says otherwise: VOC does not score them, and YOLO
labels cannot mark an object as ignored.

Source: M. Everingham et al., The PASCAL Visual Object Classes Challenge 2012 Development Kit, section 2.5,
http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from distill.datasets.formats._records import (
    Annotation,
    ImageRecord,
    SourceDataset,
    UnusableError,
    name_of,
    number,
    relative,
    sequence_by,
)
from edgestill.dataset import IMAGE_SUFFIXES
from edgestill.errors import DataError
from edgestill.files import read_bytes
from edgestill.progress import track

DROP = {"difficult": ("1",)}  # without a class map
CORNERS = ("xmin", "ymin", "xmax", "ymax")
FLAGS = ("difficult", "truncated", "occluded", "pose")
SPLIT_FILES = ({"train": "train", "val": "val", "test": "test"}, {"trainval": "train", "test": "test"})
FOLDERS = {"train": "train", "val": "val", "valid": "val", "test": "test"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """The folders of a VOC data set.

    Attributes:
        root_folder: The folder above ``Annotations``, or that of the XML files.
        prefix: Distinguishes several roots; empty if there is one.
        splits: The official split by stem; empty if there is none.
    """

    root_folder: Path
    prefix: str
    splits: Mapping[str, str]


def read(source: Path, *, sequence: re.Pattern[str] | None = None, zero_based: bool = False) -> SourceDataset:
    """Read all XML files of a folder.

    Args:
        source: A VOC year, a folder of several, or any folder with XML files and images.
        sequence: Finds the sequence in an image's file name; without it each image is its own sequence.
        zero_based: Whether pixels count from 0 and the far corner is the edge, as many labelling tools write.

    Raises:
        DataError: There are none.
    """
    files = sorted(source.rglob("*.xml"))
    if not files:
        raise DataError(f"{source} holds no XML file", hint="VOC has them in a folder Annotations")
    found = SourceDataset(dialect="voc", has_sequences=sequence is not None)
    layouts = _layouts(source, {path.parent for path in files})

    def record(path: Path) -> ImageRecord:
        layout, root = layouts[path.parent], parse_xml(path)
        return ImageRecord(
            path=_find_image(layout.root_folder, path, root),
            name=name_of("voc", layout.prefix, path.stem),
            sequence=f"{layout.prefix}/{sequence_by(sequence, path.stem)}",
            split=_split(layout, path.stem),
            size_wh=_size(root),
            # Only children of the root: a person has parts with names and boxes of their own
            objects=tuple(found.skipped_objects.usable(root.findall("object"), partial(_object, zero_based))),
        )

    found.records += found.skipped_images.usable(track(files, "labels", len(files)), record, "labels")
    found.categories = tuple(sorted({o.tags["name"] for r in found.records for o in r.objects}))
    return found


def parse_xml(path: Path) -> Element:
    """The tree of an XML file that declares no document type, hence no entity to expand or to fetch.

    Raises:
        UnusableError: It does, or it is not XML.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(read_bytes(path), True)
    except (OSError, expat.ExpatError, ValueError) as error:
        raise UnusableError("its XML cannot be read") from error
    return builder.close()


def _refuse(*_: object) -> NoReturn:
    raise UnusableError("its XML declares a document type, which VOC files do not have")


def _layouts(source: Path, folders: set[Path]) -> dict[Path, _Layout]:
    root_folders = {
        folder: folder.parent if folder.name.lower() == "annotations" else folder for folder in folders
    }
    several = len(set(root_folders.values())) > 1
    return {
        folder: _Layout(
            root_folder=root_folder,
            prefix="-".join(root_folder.relative_to(source).parts) if several else "",
            splits=_splits(root_folder),
        )
        for folder, root_folder in root_folders.items()
    }


def _splits(root_folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for files in SPLIT_FILES:
        found = {}
        for name, split in files.items():
            path = root_folder / "ImageSets" / "Main" / f"{name}.txt"
            if path.is_file():
                stems = path.read_text("utf-8", errors="replace").split()
                found |= dict.fromkeys(stems, split)
        if "train" in found.values():
            break
    return found


def _split(layout: _Layout, stem: str) -> str:
    if layout.splits and stem not in layout.splits:
        raise UnusableError("it is in none of the image sets")
    return layout.splits.get(stem) or FOLDERS.get(layout.root_folder.name.lower(), "")


def _find_image(root_folder: Path, path: Path, root: Element) -> Path:
    """The image of an XML file: by the name in it, else by the XML file's own."""
    named = relative(Path((root.findtext("filename") or "").strip().replace("\\", "/")).name or path.stem)
    folders = (root_folder / "JPEGImages", root_folder / "images", path.parent, root_folder)
    names = [named.name, *(path.stem + suffix for suffix in sorted(IMAGE_SUFFIXES))]
    for name in names:
        for folder in folders:
            if (folder / name).is_file() and (folder / name).suffix.lower() in IMAGE_SUFFIXES:
                return folder / name
    return folders[0] / named


def _size(root: Element) -> tuple[int, int] | None:
    """Width and height, where they are given; some tools leave zeros."""
    try:
        width, height = (int(number(root.findtext(f"size/{side}"))) for side in ("width", "height"))
    except UnusableError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _object(zero_based: bool, element: Element) -> Annotation:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise UnusableError("it has no name")
    x0, y0, x1, y1 = (number(element.findtext(f"bndbox/{corner}")) for corner in CORNERS)
    tags = {flag: (element.findtext(flag) or "").strip() for flag in FLAGS}
    tags = {"name": name} | {flag: value for flag, value in tags.items() if value}
    first = 0.0 if zero_based else 1.0
    return Annotation(tags, (x0 - first, y0 - first, x1, y1))
