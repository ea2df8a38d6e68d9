"""DriveU Traffic Light Dataset: labels of version 2 (JSON) and 1 (YAML), raw images of 12 bits.

The images are the left camera as it was read out: one channel with a colour filter, 2048 x 1024, 12 bits in
words of 16. The labels are in pixels of that image, before rectification.

Source: https://github.com/julimueller/dtld_parsing, README and label format; A. Fregin et al., The DriveU
Traffic Light Dataset: Introduction and Comparison with Existing Datasets, ICRA 2018.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from distill.datasets.formats._files import fields, list_of, raw_12_bit, read_json, read_yaml
from distill.datasets.formats._paths import find, is_hidden, name_of, tail
from distill.datasets.formats._records import (
    Annotation,
    ImageRecord,
    SourceDataset,
    UnreadableError,
    UnusableError,
)
from distill.datasets.formats._values import box_of_size, identifier, number, pixels, tags_of
from edgestill.errors import DataError
from edgestill.progress import say

DIGITS = 6  # of a version 1 class_id at most
PATH_PARTS = 4  # city, route, sequence, file: the folders before them are of the authors' machine


def read(source: Path, *, images: Path | None = None) -> SourceDataset:
    """Find ``DTLD_train`` and ``DTLD_test``, of version 2 if it is there; else files of single cities.

    Args:
        source: The unpacked folder.
        images: The folder of the cities, if it is another.

    Raises:
        DataError: There are no labels, or they are not DTLD's.
    """
    files = _label_files(source)
    version_1 = files[0][0].suffix != ".json"
    found = SourceDataset(dialect="dtld_v1" if version_1 else "dtld")
    roots: dict[str, Path] = {}
    for path, split in files:
        say(f"reading {path}")
        record = partial(_record, images or source, found, roots, (path, split))
        found.records += found.skipped_images.usable(_images(path), record, path)
    return found


def bayer_to_bgr(path: Path) -> NDArray[np.uint8]:
    """The colours of a raw image: filter pattern green-red over blue-green, the upper 8 of 12 bits.

    Raises:
        UnusableError: It is not a raw image of DTLD.
    """
    colours = cv2.cvtColor(raw_12_bit(path), cv2.COLOR_BAYER_GB2BGR) >> 4
    return np.asarray(
        np.minimum(colours, 255), np.uint8
    )  # values above 12 bits must not wrap around to black


def _label_files(source: Path) -> list[tuple[Path, str]]:
    for suffix in ("json", "yml"):
        official = [
            (path, split)
            for split in ("train", "test")
            for path in find(source, f"DTLD_{split}.{suffix}")[:1]
        ]
        if official:
            return official
        # All there is, or all that a city has: no split
        others = find(source, f"DTLD_all.{suffix}")[:1] or find(source, f"*.{suffix}")
        if others:
            return [(path, "") for path in others]
    raise DataError(
        f"{source} holds no DTLD_train.json or DTLD_test.json",
        hint="unpack the labels (DTLD_labels_v2.0) beside the cities",
    )


def _images(path: Path) -> list[Any]:
    if path.suffix == ".json":
        found = read_json(path)
        found = found.get("images") if isinstance(found, dict) else None
    else:
        found = read_yaml(path)
    return list_of(found, path, "DTLD images")


def _record(
    images: Path, found: SourceDataset, roots: dict[str, Path], label_file: tuple[Path, str], image: Any
) -> ImageRecord:
    (where, split), image = label_file, fields(image)
    labels = image.get("labels", image.get("objects"))
    if not isinstance(labels, list):
        raise UnusableError("the image has no list of labels")
    try:
        path = tail(image.get("image_path", image.get("path", "")), PATH_PARTS)
    except UnusableError as error:
        found.give_up_image(error, len(labels), where)
    city, route, sequence, file = path.parts
    if city not in roots:
        roots[city] = next(iter(_homes(images, city)), images)
    image_path = roots[city] / path
    return ImageRecord(
        path=image_path,
        name=name_of(f"dtld-{city}", route, sequence, Path(file).stem),
        sequence=f"{city}/{route}/{sequence}",
        city=city,
        split=split,
        decode=bayer_to_bgr if image_path.suffix.lower() in {".tif", ".tiff"} else None,
        objects=found.objects_of(labels, _object, f"{where} {path}"),
    )


def _homes(images: Path, city: str) -> Iterator[Path]:
    """Folders that hold the city: the folder of the images, or one in it such as ``DTLD``."""
    inner = sorted(folder for folder in images.iterdir() if not is_hidden(folder, images))
    yield from (folder for folder in (images, *inner) if (folder / city).is_dir())


def _object(label: Any) -> Annotation:
    label = fields(label)
    sides = (label.get("w", label.get("width")), label.get("h", label.get("height")))
    box = pixels(*map(number, (label.get("x"), label.get("y"), *sides)))
    given = label.get("attributes")
    tags = tags_of(fields(given)) if given is not None else _digits(label.get("class_id"))
    tags |= tags_of({"track_id": label.get("track_id")})
    return Annotation(tags, box_of_size(box))


def _digits(class_id: Any) -> dict[str, str]:
    """The digits of a version 1 class, counted from the right: descriptions differ in how many there are."""
    text = class_id.strip() if isinstance(class_id, str) else str(identifier(class_id, "its class_id"))
    text = text.removesuffix(".0")  # as a table program writes it
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        raise UnreadableError("its class_id is not a number of at most six digits")
    return {"class_id": text} | {f"digit_{i}": digit for i, digit in enumerate(reversed(text), 1)}
