"""COCO files whose boxes are corners (x1, y1, x2, y2) in place of x, y, width, height."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill.datasets.formats._records import ImageRecord
from edgestill.errors import DataError

BEYOND = 1.02  # of the image: boxes that are rounded may leave it by a pixel
REFUSED = 0.25  # share of boxes that leave their image; of corners in random places it is three quarters
FEW = 10  # boxes of which each may be wider than its distance from the border by chance


def corner_warnings(path: Path, records: Sequence[ImageRecord]) -> list[str]:
    """Warnings about a file whose boxes could all be corners.

    Raises:
        DataError: They could, and many would leave their image if they were not.
    """
    boxes = [(r.size_wh, o.xyxy) for r in records if r.size_wh for o in r.objects]
    beyond = moved = 0
    for (width, height), (x0, y0, x1, y1) in boxes:
        if not (x0 < x1 - x0 <= width + 1 and y0 < y1 - y0 <= height + 1):
            return []
        beyond += x1 > BEYOND * width or y1 > BEYOND * height
        moved += x0 > 0 or y0 > 0
    if beyond and beyond >= REFUSED * len(boxes):
        raise DataError(
            f"the boxes of {path} are x1, y1, x2, y2 and not x, y, width, height: read as the latter, "
            f"{beyond} of {len(boxes)} leave their image",
            hint="write the width and the height in place of the second corner",
        )
    if beyond or (moved and len(boxes) >= FEW):
        what = f"each of the {len(boxes)} boxes of {path} is larger than its distance from the border"
        return [f"{what}: are they x1, y1, x2, y2 in place of x, y, width, height?"]
    return []
