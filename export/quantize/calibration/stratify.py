"""Stratified sampling of images by brightness and object size.

The stratum of an image is its tercile of mean brightness and its tercile of mean box height, both among the
candidates; images without labels are strata of their own. One image is taken from each stratum in turn until
there are enough, so that a rare stratum (a few nights among many days) is taken completely. In a data set
without labels, brightness alone defines the strata.

Within a stratum images are ordered by a hash of the file name: the order is reproducible, and independent of
what names say, such as a scene or a camera.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgestill.dataset import Dataset, read_image, say_remarks
from edgestill.progress import track

CANDIDATES_PER_IMAGE = 4  # candidates for each image that is taken
BRIGHTNESS = ("dark", "medium", "bright")
SIZES = ("small", "middling", "large")
NO_LIGHTS = "no lights"
EVERY = 8  # step of rows and columns that are averaged for the brightness


@dataclass(frozen=True, slots=True)
class StratifiedImages:
    """A stratified sample.

    Attributes:
        paths: The images, in the order in which they were taken.
        strata: Number of images by stratum, by a name such as ``"dark, small lights"``.
    """

    paths: tuple[Path, ...]
    strata: Mapping[str, int]


def stratify(dataset: Dataset, images: Sequence[Path], count: int) -> StratifiedImages:
    """Sample at most ``count`` images, from all strata in turn.

    Args:
        dataset: Has the labels.
        images: The images to sample from.
        count: Number of images.

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
    sample = in_turn[:count]
    names = [name for name, _ in sample]
    return StratifiedImages(
        tuple(path for _, path in sample), {name: names.count(name) for name in sorted(set(names))}
    )


def _strata(dataset: Dataset, images: Sequence[Path]) -> list[str]:
    """The stratum of each image."""
    measured = [_measure(dataset, path) for path in track(images, "choose images", len(images))]
    say_remarks(dataset)
    light = _thirds([brightness for brightness, _ in measured])
    heights = [height for _, height in measured if height is not None]
    size = iter(_thirds(heights))
    return [
        f"{BRIGHTNESS[third]}, {NO_LIGHTS if height is None else f'{SIZES[next(size)]} lights'}"
        if heights
        else BRIGHTNESS[third]
        for third, (_, height) in zip(light, measured, strict=True)
    ]


def _measure(dataset: Dataset, path: Path) -> tuple[float, float | None]:
    """Mean brightness, and mean box height as a fraction of the image; None without labels."""
    heights = dataset.labels(path).cxcywh[:, 3]
    return float(read_image(path)[::EVERY, ::EVERY].mean()), float(heights.mean()) if len(heights) else None


def _thirds(values: list[float]) -> list[int]:
    """The tercile of each value: 0, 1 or 2."""
    if not values:
        return []
    edges = np.quantile(values, [1 / 3, 2 / 3])
    return [int(np.searchsorted(edges, value)) for value in values]
