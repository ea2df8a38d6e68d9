"""Pascal VOC and data sets in its format: one XML file per image.

Pixels count from 1 and both corners belong to the box, so a box from 1 to 10 covers the first ten columns.
Objects marked difficult are left out unless a class map says otherwise: VOC does not score them, and YOLO
labels cannot mark an object as ignored.

Source: M. Everingham et al., The PASCAL Visual Object Classes Challenge 2012 Development Kit, section 2.5,
http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder, tostring
from xml.parsers import expat

from distill.datasets.formats._paths import ImageFinder, listed, name_of, sequence_by, walk
from distill.datasets.formats._records import (
    Annotation,
    ImageRecord,
    SourceDataset,
    UnreadableError,
    UnusableError,
)
from distill.datasets.formats._values import flag, number, pixels
from edgestill.dataset import IMAGE_SUFFIXES
from edgestill.errors import DataError
from edgestill.files import read_bytes
from edgestill.progress import track

DROP = {"difficult": ("1",)}  # without a class map
CORNERS = ("xmin", "ymin", "xmax", "ymax")
FLAGS = ("truncated", "occluded")
NOT_GIVEN = frozenset({"", "unspecified", "unknown"})
ENCODING = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)""")
SPLIT_FILES = ({"train": "train", "val": "val", "test": "test"}, {"trainval": "train", "test": "test"})
FOLDERS = {"train": "train", "val": "val", "valid": "val", "test": "test"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """The folders of a VOC data set.

    Attributes:
        root_folder: The folder above ``Annotations``, or that of the XML files.
        prefix: Distinguishes several roots; empty if there is one.
        splits: The official split by stem; empty if there is none.
        images: Finds its images.
    """

    root_folder: Path
    prefix: str
    splits: Mapping[str, str]
    images: ImageFinder


def read(
    source: Path,
    *,
    images: Path | None = None,
    sequence: re.Pattern[str] | None = None,
    zero_based: bool = False,
) -> SourceDataset:
    """Read all XML files of a folder.

    Args:
        source: A VOC year, a folder of several, or any folder with XML files and images.
        images: The folder of the images, if they are neither in ``JPEGImages`` nor beside the XML files.
        sequence: Finds the sequence in an image's file name; without it each image is its own sequence.
        zero_based: Whether pixels count from 0 and the far corner is the edge, as many labelling tools write.

    Raises:
        DataError: There are none.
    """
    files = [path for path in walk(source, "*.*") if path.suffix.lower() == ".xml"]
    if not files:
        raise DataError(f"{source} holds no XML file", hint="VOC has them in a folder Annotations")
    found = SourceDataset(dialect="voc", has_sequences=sequence is not None)
    layouts = _layouts(source, {path.parent for path in files}, images)

    def record(path: Path) -> ImageRecord:
        layout, root = layouts[path.parent], parse_xml(path)
        objects = found.objects_of(_objects(root), partial(_object, zero_based), path, _text)
        return ImageRecord(
            path=_find_image(layout.images, path, root),
            name=name_of("voc", layout.prefix, path.stem),
            sequence=f"{layout.prefix}/{sequence_by(sequence, path.stem)}",
            split=_split(layout, path.stem),
            size_wh=_size(root),
            objects=objects,
        )

    found.records += found.skipped_images.usable(track(files, "labels", len(files)), record, "labels")
    zeros = sum(-1.0 in o.xyxy[:2] for r in found.records for o in r.objects)
    if zeros and not zero_based:
        found.warnings.append(
            f"{zeros} boxes begin at 0, where VOC counts from 1: --zero-based reads them so"
        )
    found.categories = tuple(sorted({o.tags["name"] for r in found.records for o in r.objects}))
    return found


def parse_xml(path: Path) -> Element:
    """The tree of an XML file that declares no document type, hence no entity to expand or to fetch.

    Names of elements are in lower case and without namespace.

    Raises:
        UnusableError: It does, or it is not XML, or its root is not an annotation.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, attributes: builder.start(_local(name), attributes)
    parser.EndElementHandler = lambda name: builder.end(_local(name))
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(_decoded(read_bytes(path)), True)
    except (OSError, expat.ExpatError, ValueError, LookupError) as error:
        raise UnusableError("its XML cannot be read") from error
    root = builder.close()
    if root.tag != "annotation":
        raise UnusableError("its XML is not an annotation of VOC")
    return root


def _decoded(data: bytes) -> str | bytes:
    """The text of an XML file that names its encoding, of which expat knows few; else its bytes."""
    if data.startswith(codecs.BOM_UTF8):
        return data.decode("utf-8-sig")
    named = ENCODING.match(data)
    if named is None:
        return data
    encoding = named[1].decode().lower()
    # The declaration is readable as ASCII, so the file is in no encoding of 16 bits, whatever .NET wrote.
    return data.decode("utf-8" if encoding.startswith(("utf-16", "utf-32", "unicode")) else encoding).lstrip()


def _local(name: str) -> str:
    return name.rpartition(":")[2].lower()


def _refuse(*_: object) -> NoReturn:
    raise UnusableError("its XML declares a document type, which VOC files do not have")


def _layouts(source: Path, folders: set[Path], images: Path | None) -> dict[Path, _Layout]:
    root_folders = {
        folder: folder.parent if folder.name.lower() == "annotations" else folder for folder in folders
    }
    several = len(set(root_folders.values())) > 1
    return {
        folder: _Layout(
            root_folder=root_folder,
            prefix="-".join(root_folder.relative_to(source).parts) if several else "",
            splits=_splits(root_folder),
            images=ImageFinder(_image_folders(root_folder, folder, images)),
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


def _image_folders(root_folder: Path, folder: Path, images: Path | None) -> list[Path]:
    """Candidate folders of the images of XML files in ``folder``."""
    if images is not None:
        return [images / folder.name, images, images / "JPEGImages", images / "images"]
    return [root_folder / "JPEGImages", root_folder / "images", folder, root_folder]


def _find_image(images: ImageFinder, path: Path, root: Element) -> Path:
    """The image of an XML file: that of its own name, else the one which it names.

    Tools that rename images and XML files leave the old name in the XML.
    """
    own = [PurePosixPath(path.stem + suffix) for suffix in sorted(IMAGE_SUFFIXES)]
    text = (root.findtext("filename") or "").strip()
    named = [PurePosixPath(listed(text).name)] if text else []
    if named and named[0].stem == path.stem and named[0].suffix.lower() in IMAGE_SUFFIXES:
        own = [named[0], *own]
    elif named and named[0].suffix.lower() in IMAGE_SUFFIXES:
        own += named
    found, _ = images.find(*own)
    return found


def _size(root: Element) -> tuple[int, int] | None:
    """Width and height, where they are given; some tools leave zeros."""
    try:
        width, height = (int(number(root.findtext(f"size/{side}"))) for side in ("width", "height"))
    except UnusableError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _objects(root: Element) -> list[Element]:
    """The objects; a person has parts with names and boxes of their own, which are not among them."""
    return list(root.iter("object"))


def _text(element: Element) -> str:
    return " ".join(tostring(element, "unicode").split())


def _object(zero_based: bool, element: Element) -> Annotation:
    name = " ".join((element.findtext("name") or "").split())
    if not name:
        raise UnreadableError("it has no name")
    if element.find("bndbox") is None:
        raise UnreadableError("it has no bndbox")
    x0, y0, x1, y1 = pixels(*(number(element.findtext(f"bndbox/{corner}")) for corner in CORNERS))
    (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
    first = 0.0 if zero_based else 1.0
    return Annotation({"name": name} | _tags(element), (x0 - first, y0 - first, x1, y1))


def _tags(element: Element) -> dict[str, str]:
    tags = {tag: (element.findtext(tag) or "").strip() for tag in ("difficult", *FLAGS, "pose")}
    if tags["difficult"].casefold() not in NOT_GIVEN:
        tags["difficult"] = str(int(flag(tags["difficult"], "its difficult")))
    for tag in FLAGS:
        with suppress(UnreadableError):  # a share or a word; only a class map of one's own asks for it
            tags[tag] = tags[tag] and str(int(flag(tags[tag], f"its {tag}")))
    return {tag: value for tag, value in tags.items() if value}
