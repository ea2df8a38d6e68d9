"""A choice of images that covers what a data set holds: dark and bright ones, small lights and large ones.

A candidate's stratum is its third in mean brightness, and its third in the mean height of what is labelled
in it, both among the candidates; images without labels are strata of their own. The strata give one image
each in turn until there are enough, so that a rare one (a few nights among many days) gives all that it has.
Without labels in the data set, brightness alone decides.

The order within a stratum is that of a hash of the file names: it is the same every time and everywhere, and
has nothing to do with what the names say, such as a scene or a camera.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgestill.dataset import Dataset, read_image
from edgestill.progress import track

CANDIDATES_PER_IMAGE = 4  # images that are looked at for each that is taken
BRIGHTNESS = ("dark", "medium", "bright")
SIZES = ("small", "middling", "large")
NO_LIGHTS = "no lights"
EVERY = 8  # rows and columns of an image that count for its brightness: one in so many


@dataclass(frozen=True, slots=True)
class StratifiedImages:
    """Images that were taken.

    Attributes:
        paths: In the order in which they were taken.
        strata: How many were taken of each stratum, by a name such as ``"dark, small lights"``.
    """

    paths: tuple[Path, ...]
    strata: Mapping[str, int]


def stratify(dataset: Dataset, images: Sequence[Path], count: int) -> StratifiedImages:
    """Take at most ``count`` of the images, from all strata in turn.

    Raises:
        DataError: An image or its labels cannot be read.
    """
    shuffled = sorted(images, key=lambda p: hashlib.sha256(p.name.encode()).digest())
    candidates = shuffled[: count * CANDIDATES_PER_IMAGE]
    strata = _strata(dataset, candidates)
    queues: dict[str, list[Path]] = {}
    for path, stratum in sorted(zip(candidates, strata, strict=True), key=lambda pair: pair[1]):
        queues.setdefault(stratum, []).append(path)
    deepest = max(len(queue) for queue in queues.values())
    in_turn = [(name, queue[i]) for i in range(deepest) for name, queue in queues.items() if i < len(queue)]
    taken = in_turn[:count]
    names = [name for name, _ in taken]
    return StratifiedImages(
        tuple(path for _, path in taken), {name: names.count(name) for name in sorted(set(names))}
    )


def _strata(dataset: Dataset, images: Sequence[Path]) -> list[str]:
    """The stratum of each image."""
    looks = [_look(dataset, path) for path in track(images, "choose images", len(images))]
    light = _thirds([brightness for brightness, _ in looks])
    heights = [height for _, height in looks if height is not None]
    size = iter(_thirds(heights))
    return [
        f"{BRIGHTNESS[third]}, {NO_LIGHTS if height is None else f'{SIZES[next(size)]} lights'}"
        if heights
        else BRIGHTNESS[third]
        for third, (_, height) in zip(light, looks, strict=True)
    ]


def _look(dataset: Dataset, path: Path) -> tuple[float, float | None]:
    """Mean brightness, and the mean height of what is labelled as a fraction of the image; None without."""
    heights = dataset.labels(path).cxcywh[:, 3]
    return float(read_image(path)[::EVERY, ::EVERY].mean()), float(heights.mean()) if len(heights) else None


def _thirds(values: list[float]) -> list[int]:
    """Which third each value falls in: 0, 1 or 2."""
    if not values:
        return []
    edges = np.quantile(values, [1 / 3, 2 / 3])
    return [int(np.searchsorted(edges, value)) for value in values]
