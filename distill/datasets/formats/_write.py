"""One image and its labels on disk."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from distill.datasets.formats._class_map import ClassRule
from distill.datasets.formats._records import Annotation, ImageRecord, UnusableError
from distill.datasets.formats._state import FinishedImage, digest_file
from edgestill.dataset import IMAGE_SUFFIXES, label_path, read_image
from edgestill.errors import DataError
from edgestill.files import replacing, write_bytes

# Lamps are a few pixels wide and distinguished by colour: no chroma subsampling.
JPEG = (
    cv2.IMWRITE_JPEG_QUALITY,
    95,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)
DECIMALS = 6
SMALLEST = 10.0**-DECIMALS  # a side below it would be written as 0

NO_AREA = "its box has no area"
OUTSIDE = "its box is outside the image"

How = Literal["decoded", "linked", "copied", "kept"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How images are written.

    Attributes:
        png: Decoded images as PNG, else as JPEG.
        copy: Copies instead of hard links.
    """

    png: bool = False
    copy: bool = False


@dataclass(slots=True, kw_only=True)
class WrittenImage:
    """One finished image.

    Attributes:
        done: Its entry in the state.
        how: How the image was written.
        boxes: Class ids of its rows.
        tags: Attributes of each row.
        clipped: Number of boxes that were clipped at the border.
        left_out: Objects that were not written, by reason.
    """

    done: FinishedImage
    how: How
    boxes: list[int] = field(default_factory=list)
    tags: list[Mapping[str, str]] = field(default_factory=list)
    clipped: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def write(
    out: Path,
    record: ImageRecord,
    split: str,
    *,
    rule: ClassRule,
    write_options: WriteOptions,
    old: FinishedImage | None,
) -> WrittenImage:
    """Write the image and the label file of a record; valid files of an earlier run are kept.

    Raises:
        UnusableError: The image cannot be used. Nothing is written then.
    """
    how: How
    source = _identity(record, write_options)
    image = Path("images", split, record.name + _suffix(record, write_options))
    if old is not None and old.source == source and _move_if_good(out, old, image):
        size_wh, how, digest = old.size_wh, "kept", old.digest
        _check_size(record, size_wh)
    else:
        size_wh, how = _write_image(out / image, record, write_options)
        digest = "" if how == "linked" else digest_file(out / image)
    done = FinishedImage(image=image.as_posix(), source=source, digest=digest, size_wh=size_wh)
    written = WrittenImage(done=done, how=how)
    _write_label(out / label_path(image), _rows(record, rule, written))
    return written


def remove(out: Path, old: FinishedImage, new: FinishedImage | None = None) -> None:
    """Remove the image and the label file of an earlier run, except where ``new`` has the same."""
    stay = _files(new) if new else set()
    for path in _files(old) - stay:
        (out / path).unlink(missing_ok=True)


def _files(done: FinishedImage) -> set[Path]:
    image = Path(done.image)
    return {image, label_path(image)}


def _identity(record: ImageRecord, write_options: WriteOptions) -> tuple[str, int, int, str]:
    try:
        stat = record.path.stat()
    except OSError as error:
        raise UnusableError("the image is not there") from error
    if record.decode is not None:
        way = f"{record.decode.__name__}{_suffix(record, write_options)}"
    else:
        way = "copy" if write_options.copy else "link"
    return str(record.path), stat.st_size, stat.st_mtime_ns, way


def _suffix(record: ImageRecord, write_options: WriteOptions) -> str:
    if record.decode is None:
        return record.path.suffix
    return ".png" if write_options.png else ".jpg"


def _move_if_good(out: Path, old: FinishedImage, image: Path) -> bool:
    """Whether the file of an earlier run is unchanged; it is then moved to ``image``."""
    path = out / old.image
    if not path.is_file():
        return False
    good = path.samefile(old.source[0]) if not old.digest else digest_file(path) == old.digest
    if good and image != Path(old.image):
        (out / image).parent.mkdir(parents=True, exist_ok=True)
        path.replace(out / image)
    return good


def _write_image(
    target: Path, record: ImageRecord, write_options: WriteOptions
) -> tuple[tuple[int, int], How]:
    """Write the image; gives its width and height, and how it was written."""
    if record.decode is None and record.path.suffix.lower() not in IMAGE_SUFFIXES:
        raise UnusableError(f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}")
    try:
        image = record.decode(record.path) if record.decode else read_image(record.path)
    except DataError as error:
        raise UnusableError("the image is broken") from error
    size_wh = (image.shape[1], image.shape[0])
    _check_size(record, size_wh)
    if record.decode is None:
        return size_wh, _link_or_copy(record.path, target, copy=write_options.copy)
    flags = () if write_options.png else JPEG
    ok, data = cv2.imencode(target.suffix, image, flags)
    if not ok:
        raise UnusableError("the image cannot be encoded")
    write_bytes(target, data.tobytes())
    return size_wh, "decoded"


def _check_size(record: ImageRecord, size_wh: tuple[int, int]) -> None:
    if record.size_wh is not None and record.size_wh != size_wh:
        if record.size_wh == size_wh[::-1]:
            raise UnusableError("the labels are for the image turned by 90 degrees (its EXIF orientation?)")
        raise UnusableError("the labels are for an image of another size")


def _link_or_copy(image_path: Path, target: Path, *, copy: bool) -> How:
    """Link or copy an image file to its name in the data set."""
    with replacing(target) as temporary:
        if not copy:
            try:
                os.link(image_path.resolve(), temporary)
            except OSError:  # another file system, or one without hard links
                pass
            else:
                return "linked"
        shutil.copyfile(image_path, temporary)
    return "copied"


def _write_label(path: Path, rows: list[str]) -> None:
    data = "".join(row + "\n" for row in rows).encode()
    if not path.is_file() or path.read_bytes() != data:
        write_bytes(path, data)


def _rows(record: ImageRecord, rule: ClassRule, written: WrittenImage) -> list[str]:
    rows: list[str] = []
    for item in record.objects:
        try:
            row, class_id, clipped = _row(item, rule, written.done.size_wh)
        except UnusableError as error:
            written.left_out[error.reason] += 1
            continue
        if row in rows:
            written.left_out["the same box twice"] += 1
            continue
        rows.append(row)
        written.boxes.append(class_id)
        written.tags.append(item.tags)
        written.clipped += clipped
    return rows


def _row(item: Annotation, rule: ClassRule, size_wh: tuple[int, int]) -> tuple[str, int, bool]:
    """The label row of an object, its class, and whether its box was clipped at the border."""
    class_id = rule.class_id(item.tags)
    scale = np.array([*size_wh, *size_wh], np.float64)
    whole = np.asarray(item.xyxy, np.float64) / scale
    if whole[2] <= whole[0] or whole[3] <= whole[1]:
        raise UnusableError(NO_AREA)
    x0, y0, x1, y1 = (float(v) for v in np.clip(whole, 0, 1))
    if min(x1 - x0, y1 - y0) < SMALLEST:
        raise UnusableError(OUTSIDE)
    values = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
    row = f"{class_id} " + " ".join(f"{value:.{DECIMALS}f}" for value in values)
    return row, class_id, bool((whole < 0).any() or (whole > 1).any())
