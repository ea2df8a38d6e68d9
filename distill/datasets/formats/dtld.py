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
from distill.datasets.formats._records import (
    Annotation,
    ImageRecord,
    SourceDataset,
    UnusableError,
    find,
    name_of,
    number,
    tail,
)
from edgestill.errors import DataError
from edgestill.progress import say

DIGITS = 6  # of a version 1 class_id at most
PATH_PARTS = 4  # city, route, sequence, file: the folders before them are of the authors' machine


def read(source: Path) -> SourceDataset:
    """Find ``DTLD_train`` and ``DTLD_test``, of version 2 if it is there; else files of single cities.

    Raises:
        DataError: There are no labels, or they are not DTLD's.
    """
    files = _label_files(source)
    version_1 = files[0][0].suffix != ".json"
    found = SourceDataset(dialect="dtld_v1" if version_1 else "dtld")
    roots: dict[str, Path] = {}
    for path, split in files:
        say(f"reading {path}")
        record = partial(_record, source, found, roots, split)
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
    source: Path, found: SourceDataset, roots: dict[str, Path], split: str, image: Any
) -> ImageRecord:
    image = fields(image)
    path = tail(image.get("image_path", image.get("path", "")), PATH_PARTS)
    city, route, sequence, file = path.parts
    labels = image.get("labels", image.get("objects"))
    if not isinstance(labels, list):
        raise UnusableError("the image has no list of labels")
    if city not in roots:
        roots[city] = next(iter(_homes(source, city)), source)
    image_path = roots[city] / path
    return ImageRecord(
        path=image_path,
        name=name_of(f"dtld-{city}", route, sequence, Path(file).stem),
        sequence=f"{city}/{route}/{sequence}",
        city=city,
        split=split,
        decode=bayer_to_bgr if image_path.suffix.lower() in {".tif", ".tiff"} else None,
        objects=tuple(found.skipped_objects.usable(labels, _object)),
    )


def _homes(source: Path, city: str) -> Iterator[Path]:
    """Folders that hold the city: the source, or a folder in it such as ``DTLD``."""
    yield from (folder for folder in (source, *sorted(source.iterdir())) if (folder / city).is_dir())


def _object(label: Any) -> Annotation:
    label = fields(label)
    x, y = number(label.get("x")), number(label.get("y"))
    width, height = number(label.get("w", label.get("width"))), number(label.get("h", label.get("height")))
    if "attributes" in label:
        tags = {str(key): str(value) for key, value in fields(label["attributes"]).items()}
    else:
        tags = _digits(label.get("class_id"))
    if "track_id" in label:
        tags["track_id"] = str(label["track_id"])
    return Annotation(tags, (x, y, x + width, y + height))


def _digits(class_id: Any) -> dict[str, str]:
    """The digits of a version 1 class, counted from the right: descriptions differ in how many there are."""
    text = str(class_id)
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        raise UnusableError("its class_id is not a number of at most six digits")
    return {"class_id": text} | {f"digit_{i}": digit for i, digit in enumerate(reversed(text), 1)}
