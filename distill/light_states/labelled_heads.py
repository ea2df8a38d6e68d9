"""Signal heads of labelled data sets, and crops of what is none, as training data of the classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgestill.boxes import apart
from edgestill.dataset import Dataset, read_image
from edgestill.dataset_files.image_source import source_of
from edgestill.progress import track
from runtime.light_states.classifier import STATES, UNKNOWN

SURROUNDINGS = 1.0  # of the longer side: pixels around a head that are kept, for jitter
OTHERS = 2  # random boxes an image that hold no head
OTHER_PX = (6.0, 60.0)  # longer side of such a box


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A signal head, or an object that is none.

    Attributes:
        image_bgr: The head and its surroundings; uint8 ``[H, W, 3]``.
        xyxy: Its box in that image; float32 ``[4]``.
        state: Index into ``STATES``.
        source: The source of the image, see ``edgestill.dataset_files.image_source``.
        short_px: Shorter side of the box, pixels of the source image.
    """

    image_bgr: NDArray[np.uint8]
    xyxy: NDArray[np.float32]
    state: int
    source: str
    short_px: float


def read_heads(
    datasets: Sequence[Dataset], split: str, *, without: Sequence[str] = (), seed: int = 0
) -> list[Head]:
    """Read the heads of a split, and for each image a few boxes without one.

    Args:
        datasets: Their classes are red, yellow, green and off, in any order.
        split: Name of the split; data sets without it are passed over.
        without: Sources that are left out.
        seed: Of the boxes without a head.
    """
    heads: list[Head] = []
    rng = np.random.default_rng(seed)
    found = [(data, path) for data in datasets if split in data.splits for path in data.images(split)]
    for data, path in track(found, f"read {split}", len(found)):
        source = source_of(path)
        if source not in without:
            heads += _heads_of(data, path, source, rng)
    return heads


def _heads_of(data: Dataset, path: Path, source: str, rng: np.random.Generator) -> list[Head]:
    image, labels = read_image(path), data.labels(path)
    boxes = labels.xyxy_px((image.shape[0], image.shape[1])).astype(np.float32)
    states = [STATES.index(data.classes[class_id]) for class_id in labels.class_id]
    others = _boxes_without_a_head(image.shape, boxes, rng)
    states += [STATES.index(UNKNOWN)] * len(others)
    return [
        _with_surroundings(image, box, state, source)
        for box, state in zip(np.concatenate((boxes, others)), states, strict=True)
    ]


def _with_surroundings(image: NDArray[np.uint8], box: NDArray[np.float32], state: int, source: str) -> Head:
    sides = box[2:] - box[:2]
    margin = SURROUNDINGS * float(sides.max()) + 4
    height, width = image.shape[:2]
    left, top = max(0, int(box[0] - margin)), max(0, int(box[1] - margin))
    right, bottom = min(width, int(box[2] + margin)), min(height, int(box[3] + margin))
    inside = box - np.array([left, top, left, top], np.float32)
    patch = np.ascontiguousarray(image[top:bottom, left:right])
    return Head(patch, inside, state, source, float(sides.min()))


def _boxes_without_a_head(
    shape: tuple[int, ...], boxes: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Random boxes of the shape of heads that touch no labelled one; float32 ``[n, 4]``."""
    found = []
    for _ in range(OTHERS):
        long = float(np.exp(rng.uniform(*np.log(OTHER_PX))))
        short = long * rng.uniform(0.35, 0.6)
        width, height = (long, short) if rng.random() < 0.25 else (short, long)
        if width >= shape[1] or height >= shape[0]:
            continue
        x, y = rng.uniform(0, shape[1] - width), rng.uniform(0, shape[0] - height)
        if apart(boxes, (x, y, x + width, y + height)).all():
            found.append([x, y, x + width, y + height])
    return np.array(found, np.float32).reshape(-1, 4)
