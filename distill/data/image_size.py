"""How large an image is, from the head of its file: to decode 41,000 images for that takes minutes."""

from __future__ import annotations

from pathlib import Path

from edgestill.errors import missing_library

ORIENTATION, TURNED = 274, 5  # EXIF tag, and its first value that swaps height and width


def header_hw(path: Path) -> tuple[int, int]:
    """Height and width of an image as OpenCV decodes it, the camera's orientation included.

    Raises:
        DeviceError: Pillow is not installed.
        OSError: The file is not there, or Pillow does not know its form; OpenCV may.
    """
    try:
        from PIL import Image  # noqa: PLC0415 (an extra: only this needs it)
    except ImportError as error:
        raise missing_library("measuring images", "pillow", "train") from error
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ORIENTATION, 1) >= TURNED
            return (image.width, image.height) if turned else (image.height, image.width)
    # ultralytics, once imported, has its own Image.open, which asks for a plugin before it gives up.
    except (SyntaxError, ValueError, ModuleNotFoundError) as error:
        raise OSError(f"cannot identify image file '{path}': {error}") from error
