"""One image of a data set and its labels: what is wrong with them, and what a person should know."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from distill.datasets.near_duplicates import Hash, perceptual_hash
from edgestill.dataset import Dataset, Labels, label_path
from edgestill.dataset_files.image_file import DecodedImage, decode_image, read_image_bytes
from edgestill.errors import DataError

#: The format of a file by the start of its content, and the suffixes of that format.
FORMATS = (
    (b"\xff\xd8", (".jpg", ".jpeg")),
    (b"\x89PNG", (".png",)),
    (b"BM", (".bmp",)),
    (b"RIFF", (".webp",)),
    (b"II*\0", (".tif", ".tiff")),
    (b"MM\0*", (".tif", ".tiff")),
    (b"GIF8", (".gif",)),
)
SEVERAL_PAGES = ((b"II*\0", b""), (b"MM\0*", b""), (b"RIFF", b"ANIM"), (b"GIF8", b""))
EXIF = (b"Exif\0\0", b"eXIf")  # before the EXIF block of a JPEG and of a PNG
ORIENTATION, UPRIGHT = 0x0112, 1
PNG_DEPTH, PNG_COLOUR, WITH_ALPHA = 24, 25, (4, 6)
HEADER = 2**16  # bytes in which the headers of a file are looked for
TINY_PX = 2.0  # a side below it is less than any detector can see
HUGE = 0.9  # share of the image

Remark = Literal["turned", "transparent", "pages", "format", "deep", "decoder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetIssue:
    """An error that must be fixed before training.

    Attributes:
        kind: ``image``, ``label``, ``orphan``, ``duplicate`` or ``split``.
        where: The file.
        what: Description of the error.
    """

    kind: str
    where: Path
    what: str


@dataclass(slots=True)
class CheckedImage:
    """Properties of one image.

    Attributes:
        path: The file.
        digest: Of the pixels, so that metadata makes no difference.
        phash: The perceptual hash.
        size: ``WIDTHxHEIGHT``.
        labels: None if the label file cannot be read.
        has_label_file: Whether there is one.
        sides: Square roots of box areas, px.
        tiny: Boxes with a side below ``TINY_PX``.
        huge: Boxes over more than ``HUGE`` of the image.
        remarks: What is allowed but probably not intended.
        issues: The errors.
    """

    path: Path
    digest: str = ""
    phash: Hash | None = None
    size: str = ""
    labels: Labels | None = None
    has_label_file: bool = True
    sides: list[float] = field(default_factory=list)
    tiny: int = 0
    huge: int = 0
    remarks: tuple[Remark, ...] = ()
    issues: list[DatasetIssue] = field(default_factory=list)


def check_image(dataset: Dataset, path: Path) -> CheckedImage:
    """Read an image and its labels; errors are in the result."""
    one = CheckedImage(path)
    try:
        data = read_image_bytes(path)
        decoded = decode_image(data, path)
        image = decoded.bgr
        one.size = f"{image.shape[1]}x{image.shape[0]}"
        one.digest = hashlib.blake2b(image.tobytes(), digest_size=16, key=one.size.encode()).hexdigest()
        one.phash = perceptual_hash(image)
        one.remarks = _remarks(data, path, decoded)
    except DataError as error:
        one.issues.append(DatasetIssue(kind="image", where=path, what=error.what))
    try:
        one.labels = dataset.labels(path)
        one.has_label_file = label_path(path).exists()
    except DataError as error:
        one.issues.append(DatasetIssue(kind="label", where=label_path(path), what=error.what))
    if one.labels is not None and one.size:
        _measure(one, one.labels)
    return one


def _measure(one: CheckedImage, labels: Labels) -> None:
    width, height = map(int, one.size.split("x"))
    sides = labels.cxcywh[:, 2:] * np.array([width, height], np.float32)
    one.sides = [float(side) for side in np.sqrt(sides.prod(axis=1))]
    one.tiny = int(np.count_nonzero(sides.min(axis=1, initial=np.inf) < TINY_PX))
    one.huge = int(np.count_nonzero(labels.cxcywh[:, 2:].prod(axis=1) > HUGE))


def _remarks(data: bytes, path: Path, decoded: DecodedImage) -> tuple[Remark, ...]:
    suffixes = next((known for start, known in FORMATS if data.startswith(start)), (path.suffix.lower(),))
    found: dict[Remark, bool] = {
        "turned": _orientation(data) > UPRIGHT,
        "transparent": _is_transparent(data),
        "pages": _pages(data) > 1,
        "format": path.suffix.lower() not in suffixes,
        "deep": data.startswith(b"\x89PNG") and data[PNG_DEPTH] > 8,
        "decoder": bool(decoded.said),
    }
    return tuple(remark for remark, holds in found.items() if holds)


def _orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG or PNG, 1 to 8; 1 if there is none."""
    mark = next((mark for mark in EXIF if mark in data[:HEADER]), b"")
    block = data[data.find(mark) + len(mark) :][:HEADER]
    if not mark or len(block) < 10:
        return UPRIGHT
    order: Literal["little", "big"] = "little" if block[:2] == b"II" else "big"
    first = int.from_bytes(block[4:8], order)
    for entry in range(int.from_bytes(block[first : first + 2], order)):
        row = block[first + 2 + 12 * entry :][:12]
        if int.from_bytes(row[:2], order) == ORIENTATION:
            return int.from_bytes(row[8:10], order)
    return UPRIGHT


def _is_transparent(data: bytes) -> bool:
    """Whether a PNG or WebP has pixels that are not opaque."""
    is_png = data.startswith(b"\x89PNG") and (data[PNG_COLOUR] in WITH_ALPHA or b"tRNS" in data[:HEADER])
    if not (is_png or (data.startswith(b"RIFF") and data[12:16] in (b"VP8X", b"VP8L"))):
        return False
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] != 4:
        return False
    return bool(image[..., 3].min() < np.iinfo(image.dtype).max)


def _pages(data: bytes) -> int:
    """Pages of a TIFF, frames of an animation; 1 for other formats, which are not read for it."""
    if not any(data.startswith(start) and inside in data[:HEADER] for start, inside in SEVERAL_PAGES):
        return 1
    _, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    return len(pages)
