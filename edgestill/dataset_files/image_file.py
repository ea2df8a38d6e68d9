"""Image files: decoded to BGR by one rule for training, evaluation, calibration and the runtime.

The EXIF orientation is applied, grey becomes three equal channels, 16 bits become 8, the first page counts,
and transparent pixels show the colour that is stored under them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.dataset_files import jpeg_damage
from edgestill.dataset_files.decoder_messages import decode
from edgestill.errors import DataError
from edgestill.files import read_bytes

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
PNG, PNG_END = b"\x89PNG", b"IEND"
PNG_DEPTH = 24  # where the header says the bits of a sample
TIFF = (b"II*\0", b"MM\0*")
LEAST_OF_16_BIT = 2**12  # an image of 16 bits below it has at most 15 of 255 in 8 bits
COLOUR = cv2.IMREAD_COLOR
DEEP = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
#: What else is found under the name of an image: the content from a position on, and its name.
OTHERS = (
    (0, b"version https://git-lfs", "a pointer of Git LFS (git lfs pull fetches the file)"),
    (0, b"<!DOCTYPE", "an HTML page"),
    (0, b"<html", "an HTML page"),
    (0, b"<?xml", "an XML file"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"%PDF", "a PDF"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\0\x05\x16\x07", "macOS metadata"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftypmif1", "a HEIF image"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftyp", "a video"),
)


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """A decoded image file.

    Attributes:
        bgr: uint8 ``[H, W, 3]``.
        said: What the decoder said that does no harm to the picture; empty as a rule.
    """

    bgr: NDArray[np.uint8]
    said: str


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image file to BGR, uint8 ``[H, W, 3]``.

    Raises:
        DataError: It is missing, truncated, damaged, or not an image.
    """
    return decode_image(read_image_bytes(path), path).bgr


def read_image_bytes(path: Path) -> bytes:
    """The content of an image file; DataError if it cannot be read."""
    try:
        return read_bytes(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", hint="check the path") from error


def decode_image(data: bytes, path: Path) -> DecodedImage:
    """Decode the content of an image file.

    Args:
        data: The content.
        path: The file, for messages.

    Raises:
        DataError: It is truncated, damaged, or not an image.
    """
    is_jpeg = data.startswith(jpeg_damage.START)
    if (is_jpeg and not jpeg_damage.is_whole(data)) or (data.startswith(PNG) and PNG_END not in data[-64:]):
        # OpenCV fills the missing part with grey and reports no error.
        raise DataError(
            f"{path} is truncated: {len(data)} bytes without an end marker",
            hint="copy or download the file again",
        )
    image, said = _decode(data, path)
    if image is None:
        raise _not_an_image(data, path, said)
    found = jpeg_damage.damage(data, said) if is_jpeg else ""
    if found:
        raise DataError(
            f"{path} is damaged inside: {found}",
            hint="copy or download the file again; if the picture is good, save it again",
        )
    return DecodedImage(np.asarray(image, np.uint8), said)


def _decode(data: bytes, path: Path) -> tuple[NDArray[np.generic] | None, str]:
    """Pixels and the decoder's message. Images of 16 bits that are nearly black are refused."""
    is_deep = data.startswith(PNG) and data[PNG_DEPTH : PNG_DEPTH + 1] == b"\x10"
    if not (is_deep or data.startswith(TIFF)):
        return decode(data, COLOUR)
    image, said = decode(data, DEEP)
    if image is None or image.dtype == np.uint8:
        return image, said
    most = float(image.max())
    if image.dtype == np.uint16 and 0 < most < LEAST_OF_16_BIT:
        bits = int(most).bit_length()
        raise DataError(
            f"{path} holds {bits} bits in 16: its largest value is {int(most)} of 65535, "
            "so that it would be black in 8 bits",
            hint="write the values over the whole range of 16 bits, or as 8 bits",
        )
    return decode(data, COLOUR)


def _not_an_image(data: bytes, path: Path, said: str) -> DataError:
    what = next((name for place, start, name in OTHERS if data[place:].startswith(start)), "")
    reason = " and is empty" if not data else f": it is {what}" if what else f": {said}" if said else ""
    return DataError(
        f"{path} is not an image that OpenCV can decode{reason}",
        hint=f"known: {', '.join(sorted(IMAGE_SUFFIXES))}",
    )
