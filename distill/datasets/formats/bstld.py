"""Bosch Small Traffic Lights Dataset: ``train.yaml``, ``additional_train.yaml``, ``test.yaml`` and images.

The images are 8-bit PNG, 1280 x 720. Where only the raw ones are unpacked (``riib``: 12 bits behind a
red-clear-clear-blue filter, 8 lines of camera data on top) those are used, in grey, with the boxes shifted.

Source: https://github.com/bosch-ros-pkg/bstld, its label files and the facts in its reader; K. Behrendt et
al., A Deep Learning Approach to Traffic Lights: Detection, Tracking, and Classification, ICRA 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from distill.datasets.formats._files import fields, list_of, raw_12_bit, read_yaml
from distill.datasets.formats._paths import find, is_hidden, name_of, relative
from distill.datasets.formats._records import Annotation, ImageRecord, SourceDataset, UnusableError
from distill.datasets.formats._values import Corners, flag, number, pixels, tags_of
from edgestill.errors import DataError
from edgestill.progress import say

FILES = {"train": "train", "additional_train": "train", "test": "test"}
LAST_XY = (1279.0, 719.0)  # some boxes exceed the image; the reader of the data set clips them here
RIIB_SHIFT_PX = 8.0


def read(source: Path, *, images: Path | None = None) -> SourceDataset:
    """Read the label files that are there.

    Args:
        source: The unpacked folder.
        images: The folder that holds ``rgb`` or ``riib``, if it is another.

    Raises:
        DataError: There are none, or they are not BSTLD's.
    """
    found = SourceDataset(dialect="bstld")
    files = [(path, split) for stem, split in FILES.items() for path in find(source, f"{stem}.yaml")[:1]]
    if not files:
        raise DataError(
            f"{source} holds neither train.yaml nor test.yaml", hint="unpack the labels beside the folder rgb"
        )
    for path, split in files:
        say(f"reading {path}")
        entries = list_of(read_yaml(path), path, "BSTLD images")
        inner = sorted(folder for folder in source.iterdir() if not is_hidden(folder, source))
        roots = (*([images] if images else []), path.parent, source, *inner)
        record = partial(_record, found, roots, (path, split))
        found.records += found.skipped_images.usable(entries, record, path)
    return found


def riib_to_bgr(path: Path) -> NDArray[np.uint8]:
    """A raw image in grey, the upper 8 of 12 bits; its colour filter has no green channel.

    Raises:
        UnusableError: It is not a raw image of BSTLD.
    """
    grey = np.minimum(raw_12_bit(path) >> 4, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)


def _record(
    found: SourceDataset, roots: Sequence[Path], label_file: tuple[Path, str], image: Any
) -> ImageRecord:
    (where, split), image = label_file, fields(image)
    boxes = image.get("boxes")
    if not isinstance(boxes, list):
        raise UnusableError("the image has no list of boxes")
    try:
        path = _from_rgb(image.get("path", ""))
    except UnusableError as error:
        found.give_up_image(error, len(boxes), where)
    image_path, is_riib = _find_image(roots, path)
    shift = RIIB_SHIFT_PX if is_riib else 0.0
    folder = "-".join(path.parts[1:-1]) or split  # rgb/train/<drive>/<frame>.png, rgb/test/<frame>.png
    return ImageRecord(
        path=image_path,
        name=name_of("bstld", folder, path.stem),
        sequence=path.parts[-2] if len(path.parts) > 3 else folder,
        split=split,
        decode=riib_to_bgr if is_riib else None,
        objects=found.objects_of(boxes, partial(_object, shift), f"{where} {path}"),
    )


def _from_rgb(path: Any) -> PurePosixPath:
    """The path from the folder ``rgb`` on; without the folders of the authors' machine in front of it."""
    parts = PurePosixPath(str(path).replace("\\", "/")).parts
    if "rgb" not in parts:
        raise UnusableError("the path of the image has no folder rgb")
    at = len(parts) - 1 - parts[::-1].index("rgb")
    return relative(PurePosixPath(*parts[at:]))


def _find_image(roots: Sequence[Path], path: PurePosixPath) -> tuple[Path, bool]:
    """Where the image lies, and whether it is a raw one."""
    raw = PurePosixPath("riib", *path.parts[1:]).with_suffix(".pgm")
    for wanted, is_riib in ((path, False), (raw, True)):
        for root in roots:
            if (root / wanted).is_file():
                return root / wanted, is_riib
    return roots[0] / path, False


def _object(shift: float, box: Any) -> Annotation:
    box = fields(box)
    x0, y0, x1, y1 = _corners(box)
    tags = tags_of({"label": box.get("label")})
    if box.get("occluded") is not None:
        tags["occluded"] = str(flag(box["occluded"], "its occluded")).lower()
    return Annotation(tags, (x0, y0 + shift, x1, y1 + shift))


def _corners(box: dict[str, Any]) -> Corners:
    """The corners, sorted and clipped as the reader of the data set does."""
    x0, y0, x1, y1 = pixels(*(number(box.get(key)) for key in ("x_min", "y_min", "x_max", "y_max")))
    xs = sorted(min(max(x, 0.0), LAST_XY[0]) for x in (x0, x1))
    ys = sorted(min(max(y, 0.0), LAST_XY[1]) for y in (y0, y1))
    return xs[0], ys[0], xs[1], ys[1]
