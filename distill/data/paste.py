"""Copy-paste: labelled objects of other images, pasted into a sample with their labels.

Objects in new surroundings teach a detector the object and not its street.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from distill.data.sample import Boxes, Image, Sample, quarter_turn
from edgestill.boxes import apart

MARGIN = 0.08  # of the longer side: surroundings that are blended into the new ones
TRIES = 4  # places that are tried for an object


@dataclass(frozen=True, slots=True, kw_only=True)
class Paste:
    """The ``[augment.paste]`` table.

    Attributes:
        share: Probability that objects are pasted into a sample, from 0 to 1.
        most: Largest number of them.
        turn: Probability that a pasted object is turned by 90 degrees, from 0 to 1: a vertical signal head
            becomes a horizontal one.
        min_px: Objects with a shorter side below this are not copied: enlarged, they would be a blur.
        side_px: Longer side of a pasted object, smallest and largest, drawn log-uniformly, pixels. An object
            is enlarged to at most 1.5 of its size.
    """

    share: float = 0.0
    most: int = 3
    turn: float = 0.5
    min_px: float = 8.0
    side_px: tuple[float, float] = (12.0, 90.0)


def paste_objects(
    sample: Sample, images: Sequence[Sample], among: range, paste: Paste, rng: np.random.Generator
) -> Sample:
    """Paste objects of random images into a sample, where they cover no object of it.

    Args:
        sample: Its image is not changed.
        images: All training images.
        among: Those that objects are taken from.
        paste: How many, and how large.
        rng: Source of randomness.
    """
    image, boxes, class_ids = sample.image_bgr.copy(), list(sample.xyxy), list(sample.class_id)
    for _ in range(int(rng.integers(1, paste.most + 1))):
        donor = _donor(images[int(rng.integers(among.start, among.stop))], paste, rng)
        if donor is None:
            continue
        place = _place(donor.image_bgr.shape[:2], image.shape[:2], np.array(boxes, np.float32), rng)
        if place is None:
            continue
        _blend(image, donor.image_bgr, place)
        boxes.append(donor.xyxy[0] + np.array([place[0], place[1]] * 2, np.float32))
        class_ids.append(donor.class_id[0])
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    return Sample(image, np.array(class_ids, np.int64), xyxy)


def _donor(source: Sample, paste: Paste, rng: np.random.Generator) -> Sample | None:
    """One object with a margin, scaled and perhaps turned; None if the image has none of that size."""
    sides = source.xyxy[:, 2:] - source.xyxy[:, :2]
    large = np.flatnonzero(sides.min(axis=1, initial=np.inf) >= paste.min_px) if len(sides) else sides
    if not len(large):
        return None
    chosen = int(large[rng.integers(len(large))])
    cut = _cut_out(source, chosen)
    longer = float(sides[chosen].max())
    wanted = float(np.exp(rng.uniform(*np.log(paste.side_px))))
    scale = min(wanted / longer, 1.5)
    if rng.random() < paste.turn:
        cut = quarter_turn(cut, clockwise=bool(rng.random() < 0.5))
    height, width = (max(2, round(side * scale)) for side in cut.image_bgr.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(cut.image_bgr, (width, height), interpolation=interpolation)
    ratio = np.array([width / cut.image_bgr.shape[1], height / cut.image_bgr.shape[0]] * 2, np.float32)
    return Sample(np.asarray(image, np.uint8), cut.class_id, cut.xyxy * ratio)


def _cut_out(source: Sample, index: int) -> Sample:
    """One object of an image with a margin around it."""
    height, width = source.image_bgr.shape[:2]
    x0, y0, x1, y1 = source.xyxy[index]
    margin = MARGIN * max(x1 - x0, y1 - y0) + 1
    left, top = max(0, int(x0 - margin)), max(0, int(y0 - margin))
    right, bottom = min(width, int(np.ceil(x1 + margin))), min(height, int(np.ceil(y1 + margin)))
    corners = source.xyxy[index : index + 1] - np.array([left, top, left, top], np.float32)
    return Sample(source.image_bgr[top:bottom, left:right], source.class_id[index : index + 1], corners)


def _place(
    size: tuple[int, ...], room: tuple[int, ...], boxes: Boxes, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Left and top of a place that touches none of the boxes; None if none was found."""
    free_h, free_w = room[0] - size[0], room[1] - size[1]
    if free_h < 0 or free_w < 0:
        return None
    for _ in range(TRIES):
        left, top = int(rng.integers(free_w + 1)), int(rng.integers(free_h + 1))
        if not len(boxes):
            return left, top
        if apart(boxes, (left, top, left + size[1], top + size[0])).all():
            return left, top
    return None


def _blend(image: Image, patch: Image, place: tuple[int, int]) -> None:
    """Paste a patch in place; its margin fades into the image."""
    height, width = patch.shape[:2]
    fade = max(1.0, MARGIN * max(height, width))
    rows = np.minimum(np.arange(height), np.arange(height)[::-1]) + 0.5
    columns = np.minimum(np.arange(width), np.arange(width)[::-1]) + 0.5
    weight = np.clip(np.minimum(rows[:, None], columns[None]) / fade, 0, 1)[..., None].astype(np.float32)
    window = image[place[1] : place[1] + height, place[0] : place[0] + width]
    window[:] = (weight * patch + (1 - weight) * window + 0.5).astype(np.uint8)
