"""The size of an image from its file header: decoding 41,000 images for it would take minutes."""

from __future__ import annotations

from pathlib import Path

from edgestill.errors import missing_library

ORIENTATION, TURNED = 274, 5  # EXIF tag, and its first value that swaps height and width
TURNED_ALIKE = frozenset({"JPEG", "MPO"})  # formats whose size Pillow gives as stored, and all OpenCVs turn


def header_hw(path: Path) -> tuple[int, int]:
    """Height and width of an image as OpenCV decodes it, with the EXIF orientation applied.

    Raises:
        DeviceError: Pillow is not installed.
        OSError: The file is missing, or in a format that Pillow does not read or may turn otherwise; OpenCV
            may read it.
    """
    try:
        from PIL import Image  # noqa: PLC0415 (an extra: only this needs it)
    except ImportError as error:
        raise missing_library("measuring images", "pillow", "train") from error
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ORIENTATION, 1) >= TURNED
            if turned and image.format not in TURNED_ALIKE:
                raise OSError(f"OpenCV and Pillow may turn '{path}' differently")
            return (image.width, image.height) if turned else (image.height, image.width)
    # ultralytics, once imported, replaces Image.open by one that tries to load a plugin before it fails.
    # A size beyond Pillow's limit is OpenCV's to refuse, or to read.
    except (SyntaxError, ValueError, ModuleNotFoundError, Image.DecompressionBombError) as error:
        raise OSError(f"cannot identify image file '{path}': {error}") from error
