"""Label files: a row an object, ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 ...``, normalised.

A polygon becomes the box around it, and a row that is there twice counts once, as in the ``ultralytics``
package. A row that cannot be read is an error: without it the object would be background.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgestill.boxes import cxcywh_to_xyxy
from edgestill.errors import DataError
from edgestill.files import read_bytes

#: Of the image, by which a box may reach outside: label files hold rounded numbers.
EDGE_TOLERANCE = 1e-2
COLUMNS = "class cx cy w h"
ROW = f"a row is: {COLUMNS}, normalised to [0, 1]"
POLYGON_COLUMNS = 7  # class and three points; the ultralytics package takes rows from here on as polygons


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The ground-truth boxes of one image.

    Attributes:
        class_id: int64 ``[N]``.
        cxcywh: Centre, width, height, normalised to the image; float32 ``[N, 4]``.
        repeated: Rows of the file that were left out because an equal one is there.
        polygons: Rows of the file that are polygons.
    """

    class_id: NDArray[np.int64]
    cxcywh: NDArray[np.float32]
    repeated: int = 0
    polygons: int = 0

    def __len__(self) -> int:
        return len(self.class_id)

    def xyxy_px(self, image_hw: tuple[int, int]) -> NDArray[np.float32]:
        """Corners in pixels of an image of that height and width; float32 ``[N, 4]``."""
        height, width = image_hw
        return cxcywh_to_xyxy(self.cxcywh) * np.array([width, height, width, height], np.float32)


class _UnreadableRowError(Exception):
    """A row that cannot be read: why, and what to do."""

    def __init__(self, what: str, hint: str = ROW) -> None:
        super().__init__(what)
        self.hint = hint


def read_labels(path: Path, nc: int, *, keypoint_columns: int = 0) -> Labels:
    """Read a label file; a missing file means an image without objects.

    Args:
        path: The file.
        nc: Number of classes.
        keypoint_columns: Columns of keypoints after the box in a set for poses; they are left out.

    Raises:
        DataError: A row cannot be read, a class id is not below ``nc``, or a box is outside the image or has
            no area. The message has the first such row and their number.
    """
    lines = _lines(path)
    read: dict[bytes, tuple[float, ...]] = {}  # the box of each row, by the numbers in it
    wrong: list[tuple[int, _UnreadableRowError]] = []
    rows = polygons = 0
    for number, line in enumerate(lines, 1):
        columns = line.split()
        if not columns:
            continue
        rows += 1
        try:
            values = _numbers(columns, keypoint_columns)
            read[array("f", values).tobytes()] = _box(values, columns, nc)
            polygons += len(values) >= POLYGON_COLUMNS
        except _UnreadableRowError as error:
            wrong.append((number, error))
    if wrong:
        number, first = wrong[0]
        others = f" ({len(wrong)} of {rows} rows of this file are wrong)" if len(wrong) > 1 else ""
        raise DataError(f"{path}:{number} {first}{others}", hint=first.hint)
    table = np.asarray(list(read.values()), np.float64).reshape(-1, 5)
    return Labels(table[:, 0].astype(np.int64), table[:, 1:].astype(np.float32), rows - len(read), polygons)


def _lines(path: Path) -> list[str]:
    hint = "a label file is plain text in UTF-8"
    try:
        data = read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", hint=hint) from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16 text", hint="save it as UTF-8")
    if b"\0" in data:
        raise DataError(f"{path} holds zero bytes: it is damaged, or no plain text", hint=hint)
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}", hint=hint) from error


def _numbers(columns: Sequence[str], keypoint_columns: int) -> list[float]:
    """The numbers of a row, without keypoints."""
    if keypoint_columns and len(columns) == 5 + keypoint_columns:
        columns = columns[:5]
    count = len(columns)
    if count != 5 and (count < POLYGON_COLUMNS or count % 2 == 0):
        raise _UnreadableRowError(*_why_not_five(columns))
    try:
        values = [float(c) for c in columns]
    except ValueError:
        raise _UnreadableRowError(*_why_no_numbers(columns)) from None
    if not isfinite(sum(values)):
        raise _UnreadableRowError(f"has a number that is not finite: {' '.join(columns)}")
    return values


def _box(values: Sequence[float], columns: Sequence[str], nc: int) -> tuple[float, ...]:
    """Class, centre, width and height of a row."""
    class_id = values[0]
    if class_id != int(class_id) or not 0 <= class_id < nc:
        raise _UnreadableRowError(
            f"has class {columns[0]}, the data set has {nc} classes",
            "class ids are whole numbers that count from 0; check names in data.yaml",
        )
    if len(values) == 5:
        _, cx, cy, w, h = values
        x0, x1, y0, y1 = cx - w / 2, cx + w / 2, cy - h / 2, cy + h / 2
    else:
        xs, ys = values[1::2], values[2::2]
        x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
        cx, cy, w, h = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
    if not (w > 0 and h > 0):
        shape = "box" if len(values) == 5 else "polygon"
        raise _UnreadableRowError(
            f"has a {shape} without area: {' '.join(columns[1:])}", "correct the row or remove it"
        )
    low, high = -EDGE_TOLERANCE, 1 + EDGE_TOLERANCE
    if not (low <= x0 and x1 <= high and low <= y0 and y1 <= high):
        what = "these look like pixels: divide by width and height" if max(values[1:]) > 2 else "clip the box"
        raise _UnreadableRowError(
            f"has a box outside the image: {' '.join(columns[1:])}",
            f"cx cy w h are fractions of the image; {what}",
        )
    return class_id, cx, cy, w, h


def _why_not_five(columns: Sequence[str]) -> tuple[str, str]:
    what = f"has {len(columns)} columns, expected 5"
    if len(columns) == 1 and "," in columns[0]:
        return f"has commas between its numbers: {columns[0]}", "separate them by blanks; " + ROW
    if len(columns) == 6:
        return what, f"{ROW}; a sixth column is the score of a prediction: these are no labels"
    if len(columns) > 5:
        what += ", or an odd number of at least 7 for a polygon"
        return what, f"{ROW}; labels of poses need kpt_shape in data.yaml"
    return what, ROW


def _why_no_numbers(columns: Sequence[str]) -> tuple[str, str]:
    row = " ".join(columns)
    if any("," in column for column in columns):
        return f"has a comma in its numbers: {row}", "write 0.5, not 0,5"
    if columns[0][:1].isalpha():
        return f"has a name for a class id: {row}", "class ids count from 0; names are in data.yaml"
    return f"is not {'five numbers' if len(columns) == 5 else 'numbers only'}: {row}", ROW
