"""A data set in YOLO layout: ``data.yaml``, image folders, one label file an image.

A label row is ``class cx cy w h``, normalised to the image. The label of ``images/a/x.jpg`` is
``labels/a/x.txt``; an image without a label file has no objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from edgestill.boxes import cxcywh_to_xyxy
from edgestill.errors import DataError, UsageError
from edgestill.files import is_text, read_bytes, read_text

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
EDGE_TOLERANCE = 1e-3  # of the image, by which a box may reach outside: label files hold rounded numbers


class _DataYamlLoader(yaml.SafeLoader):
    """The safe loader, but ``off``, ``on``, ``yes`` and ``no`` are strings: ``off`` is a class name."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML declares it, and not as ClassVar)
        first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:bool"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The ground-truth boxes of one image.

    Attributes:
        class_id: int64 ``[N]``.
        cxcywh: Centre, width, height, normalised to the image; float32 ``[N, 4]``.
    """

    class_id: NDArray[np.int64]
    cxcywh: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.class_id)

    def xyxy_px(self, image_hw: tuple[int, int]) -> NDArray[np.float32]:
        """Corners in pixels of an image of that height and width; float32 ``[N, 4]``."""
        height, width = image_hw
        return cxcywh_to_xyxy(self.cxcywh) * np.array([width, height, width, height], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A parsed ``data.yaml``.

    Attributes:
        path: The YAML file.
        classes: Class names; the position is the class id.
        splits: Image folders by split name (``train``, ``val``, ``test``).
    """

    path: Path
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Path, ...]]

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Parse a ``data.yaml``.

        Raises:
            DataError: It is missing, not YAML, or lacks names or splits.
        """
        hint = "a data.yaml holds path, train, val, test and names; `edgestill data synth` writes one"
        try:
            data = yaml.load(read_text(path), _DataYamlLoader)
        except FileNotFoundError as error:
            raise DataError(f"{path} does not exist", hint=hint) from error
        except (OSError, ValueError, ArithmeticError, TypeError, RecursionError, yaml.YAMLError) as error:
            # PyYAML lets through what a date, a number or a key of another type raises
            raise DataError(f"{path} is not readable YAML: {error}", hint=hint) from error
        if not isinstance(data, dict) or "names" not in data:
            raise DataError(f"{path} names no classes", hint=hint)
        classes = _classes(data["names"], path, hint)
        if "nc" in data and data["nc"] != len(classes):
            raise DataError(
                f"{path} says nc: {data['nc']} and names {len(classes)} classes",
                hint="make nc and names agree",
            )
        root = path.parent / str(data.get("path") or ".")
        splits = {}
        for split in ("train", "val", "test"):
            folders = data.get(split) or []
            folders = [folders] if isinstance(folders, str) else folders
            if folders:
                splits[split] = tuple(root / str(folder) for folder in folders)
        if not splits:
            raise DataError(f"{path} has none of train, val, test", hint=hint)
        return cls(path=path, classes=classes, splits=splits)

    def images(self, split: str) -> list[Path]:
        """The images of a split, sorted by path.

        Raises:
            UsageError: The data set has no such split.
            DataError: A folder is missing, or the split holds no image.
        """
        if split not in self.splits:
            raise UsageError(f"{self.path} has no split {split!r}", hint=f"it has: {', '.join(self.splits)}")
        found: list[Path] = []
        for folder in self.splits[split]:
            if not folder.is_dir():
                raise DataError(
                    f"{folder}, the {split} split of {self.path}, is not a folder",
                    hint="correct the path in data.yaml",
                )
            found += images_under(folder)
        if not found:
            raise DataError(
                f"the {split} split of {self.path} holds no image",
                hint=f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}",
            )
        return sorted(found)

    def labels(self, image: Path) -> Labels:
        """The labels of one image of this data set, see ``read_labels``."""
        return read_labels(label_path(image), len(self.classes))


def images_under(folder: Path) -> list[Path]:
    """The image files in a folder and in those below it, sorted by path."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)


def label_path(image: Path) -> Path:
    """``.../images/train/x.jpg`` -> ``.../labels/train/x.txt``; replaces the last folder called images."""
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def read_labels(path: Path, nc: int) -> Labels:
    """Read a label file; a missing file means an image without objects.

    Raises:
        DataError: A row does not have five columns, a class id is not below ``nc``, or a box is outside the
            image.
    """
    if not path.exists():
        return Labels(np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
    rows = []
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="a label file is plain text") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            rows.append(_row(line.split(), f"{path}:{number}", nc))
    table = np.asarray(rows, np.float64).reshape(-1, 5)
    return Labels(table[:, 0].astype(np.int64), table[:, 1:].astype(np.float32))


def _row(columns: list[str], where: str, nc: int) -> list[float]:
    if len(columns) != 5:
        raise DataError(
            f"{where} has {len(columns)} columns, expected 5",
            hint="a row is: class cx cy w h, normalised to [0, 1]",
        )
    try:
        values = [float(c) for c in columns]
    except ValueError as error:
        raise DataError(
            f"{where} is not five numbers: {' '.join(columns)}", hint="a row is: class cx cy w h"
        ) from error
    class_id, cx, cy, w, h = values
    if not 0 <= class_id < nc or class_id != int(class_id):  # in this order: int() takes no NaN or infinity
        raise DataError(
            f"{where} has class {columns[0]}, the data set has {nc} classes",
            hint="class ids count from 0; check names in data.yaml",
        )
    low, high = -EDGE_TOLERANCE, 1 + EDGE_TOLERANCE
    inside = low <= cx - w / 2 and cx + w / 2 <= high and low <= cy - h / 2 and cy + h / 2 <= high
    if not (w > 0 and h > 0 and inside):  # NaN fails every comparison
        raise DataError(
            f"{where} has a box outside the image: {' '.join(columns[1:])}",
            hint="cx cy w h are fractions of the image; clip the box",
        )
    return values


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image file to BGR, uint8 ``[H, W, 3]``.

    Raises:
        DataError: It is missing, truncated, or not an image.
    """
    try:
        data = read_bytes(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", hint="check the path") from error
    if not _is_whole(data):
        # OpenCV fills the missing part with grey and reports no error.
        raise DataError(
            f"{path} is truncated: {len(data)} bytes without an end marker",
            hint="copy or download the file again",
        )
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:  # a side in the header is larger than OpenCV's limits
        raise DataError(
            f"{path} cannot be decoded: {error.err or error}", hint="copy or download the file again"
        ) from error
    if image is None:
        raise DataError(
            f"{path} is not an image that OpenCV can decode",
            hint=f"known: {', '.join(sorted(IMAGE_SUFFIXES))}",
        )
    return np.asarray(image, np.uint8)


def _is_whole(data: bytes) -> bool:
    """Whether a JPEG or PNG has its end marker; True for other formats, which the decoder checks."""
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in data[-1024:]  # some cameras write padding after the marker
    if data.startswith(b"\x89PNG"):
        return b"IEND" in data[-64:]
    return True


def _classes(names: object, path: Path, hint: str) -> tuple[str, ...]:
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):  # keys may be of several types, which cannot be sorted
            keys = ", ".join(map(str, names))
            raise DataError(f"{path} numbers its classes {keys}, not 0 to {len(names) - 1}", hint=hint)
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path} names no classes", hint=hint)
    classes = tuple(str(name) for name in names)
    if not all(is_text(name) for name in classes):
        raise DataError(f"{path} has a class name that is no text: {classes}", hint=hint)
    return classes
