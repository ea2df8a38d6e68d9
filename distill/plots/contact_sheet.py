"""Contact sheets of image pairs with boxes: labels and predictions, or an image and a detail of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.drawing.class_names import image_names
from edgestill.drawing.palette import Bgr, image_colours
from edgestill.files import write_bytes
from runtime.metrics.coco import Truth

Image = NDArray[np.uint8]

CELL_HW = (480, 640)  # pixels of a cell of the sheet
PAIRS = 2  # in a row of the sheet
GAP, TITLE = 8, 34
LETTERS = 0.55  # font scale of the captions, in OpenCV's unit
PAPER, INK, SHADE = (255, 255, 255), (38, 33, 28), (30, 30, 30)


@dataclass(frozen=True, slots=True, eq=False)
class PredictedImage:
    """One image with its labels and predictions, in its own pixels.

    Attributes:
        image_bgr: uint8 ``[H, W, 3]``.
        truth: The labels.
        found: The predictions.
    """

    image_bgr: Image
    truth: Truth
    found: Detections


@dataclass(frozen=True, slots=True, eq=False)
class BoxedImage:
    """One image with boxes.

    Attributes:
        image_bgr: uint8 ``[H, W, 3]``.
        xyxy: Corners of the boxes, pixels of the image; float32 ``[N, 4]``.
        class_id: int64 ``[N]``, for the colours.
        texts: The caption of each box.
    """

    image_bgr: Image
    xyxy: NDArray[np.float32]
    class_id: NDArray[np.int64]
    texts: Sequence[str]


def contact_sheet(path: Path, images: Sequence[PredictedImage], classes: Sequence[str]) -> Path:
    """Write images in pairs, with labels on the left and predictions on the right.

    Args:
        path: A ``.jpg``.
        images: At least one.
        classes: Class names.
    """
    pairs, names = [], image_names(classes)
    for one in images:
        named = [names[k] for k in one.truth.class_id]
        scored = [f"{names[k]} {s:.2f}" for k, s in zip(one.found.class_id, one.found.score, strict=True)]
        labels = BoxedImage(one.image_bgr, one.truth.xyxy, one.truth.class_id, named)
        pairs.append((labels, BoxedImage(one.image_bgr, one.found.xyxy, one.found.class_id, scored)))
    return write_sheet(path, pairs, ("labels", "predictions"), image_colours(classes))


def write_sheet(
    path: Path,
    pairs: Sequence[tuple[BoxedImage, BoxedImage]],
    titles: tuple[str, str],
    colours: Sequence[Bgr],
) -> Path:
    """Write pairs of images.

    Args:
        path: A ``.jpg``.
        pairs: At least one.
        titles: Of the left and the right column.
        colours: By class id.
    """
    drawn = [_pair(pair, colours) for pair in pairs]
    columns, width = min(PAIRS, len(drawn)), 2 * (CELL_HW[1] + GAP) + 2 * GAP
    rows = [_titles(titles, columns, width)]
    for start in range(0, len(drawn), columns):
        side_by_side = drawn[start : start + columns]
        height = max(len(pair) for pair in side_by_side) + GAP
        row = np.full((height, columns * width, 3), PAPER, np.uint8)
        for column, pair in enumerate(side_by_side):
            row[: len(pair), column * width : column * width + pair.shape[1]] = pair
        rows.append(row)
    sheet = np.vstack(rows)[:, : -3 * GAP]  # without the gap after the last column
    done, data = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done
    write_bytes(path, data.tobytes())
    return path


def _titles(titles: tuple[str, str], columns: int, width: int) -> Image:
    """The titles above the columns."""
    line = np.full((TITLE, columns * width, 3), PAPER, np.uint8)
    for column in range(columns):
        for half, title in enumerate(titles):
            left = column * width + half * (CELL_HW[1] + GAP)
            _text(line, title, (left + 4, TITLE - 11), INK, 0.75)
    return line


def _pair(pair: tuple[BoxedImage, BoxedImage], colours: Sequence[Bgr]) -> Image:
    """Both, side by side, ``[h, 2 * cell + gap, 3]``."""
    cells = [_cell(one, colours) for one in pair]
    canvas = np.full((max(map(len, cells)), 2 * CELL_HW[1] + GAP, 3), PAPER, np.uint8)
    for half, cell in enumerate(cells):
        left = half * (CELL_HW[1] + GAP)
        canvas[: len(cell), left : left + cell.shape[1]] = cell
    return canvas


def _cell(one: BoxedImage, colours: Sequence[Bgr]) -> Image:
    """The image with its boxes, fitted into a cell."""
    height, width = one.image_bgr.shape[:2]
    scale = min(CELL_HW[0] / height, CELL_HW[1] / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = np.asarray(cv2.resize(one.image_bgr, size, interpolation=way), np.uint8)
    return _boxed(image, one.xyxy * scale, [colours[k] for k in one.class_id], one.texts)


def _boxed(image: Image, xyxy: NDArray[np.float32], colours: Sequence[Bgr], texts: Sequence[str]) -> Image:
    """A copy of the image with boxes in their colours, and a caption at each."""
    drawn: Image = image.copy()
    corners = np.rint(xyxy).astype(int)
    for (x0, y0, x1, y1), colour in zip(corners, colours, strict=True):
        cv2.rectangle(drawn, (x0 - 2, y0 - 2), (x1 + 1, y1 + 1), colour, 2)
    taken: list[tuple[int, int, int, int]] = []
    for (x0, y0, _, y1), colour, text in zip(corners, colours, texts, strict=True):
        width, height = _size(text)
        place = _free(drawn.shape[:2], (x0, y0, y1), (width, height), taken)
        taken.append((*place, place[0] + width, place[1] + height))
        drawn[place[1] : place[1] + height, place[0] : place[0] + width] = SHADE
        _text(drawn, text, (place[0] + 3, place[1] + height - 5), colour, LETTERS)
    return drawn


def _free(
    hw: tuple[int, int],
    box: tuple[int, int, int],
    size: tuple[int, int],
    taken: list[tuple[int, int, int, int]],
) -> tuple[int, int]:
    """Left and top of a caption at a box that covers no other caption, if possible.

    Args:
        hw: Height and width of the image.
        box: Left, top and bottom of the box.
        size: Width and height of the text.
        taken: Left, top, right and bottom of the captions already placed.
    """
    left = int(np.clip(box[0] - 3, 0, max(hw[1] - size[0], 0)))
    above, below = box[1] - 3 - size[1], box[2] + 3
    # Away from the box line by line, upwards or downwards.
    tops = [t for n in range(6) for t in (above - n * size[1], below + n * size[1])]
    inside = [t for t in tops if 0 <= t <= hw[0] - size[1]] or [0]
    free = (
        t for t in inside if all(_apart((left, t, left + size[0], t + size[1]), other) for other in taken)
    )
    return left, next(free, inside[0])


def _apart(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def _size(text: str) -> tuple[int, int]:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, LETTERS, 1)
    return width + 6, height + 8


def _text(image: Image, text: str, at: tuple[int, int], colour: tuple[int, int, int], scale: float) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
