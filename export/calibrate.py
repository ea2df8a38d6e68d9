"""Choose the images that INT8 ranges come from, and keep a record of them.

They come from the training split only, spread over brightness and object size, and none may be an image that
the result is verified on: a range that was fitted to the test flatters the test.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.dataset import Dataset, read_image
from edgestill.errors import DataError, UsageError
from edgestill.files import sha256_file
from edgestill.progress import track
from edgestill.spec import ModelSpec
from runtime.letterbox import prepare

SPLIT = "train"
IMAGES = 128
CANDIDATES_PER_IMAGE = 4  # images that are looked at for each that is taken
THIRDS = 3  # strata in brightness, and in size of what is labelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Where ranges came from.

    Attributes:
        data: The ``data.yaml``.
        split: Of that data set.
        images: SHA-256 by file name, relative to the data set.
        preprocessing: What was done to them: input size, channel order, scale, border.
        preprocessing_sha256: Hash of it.
    """

    data: str
    split: str
    images: dict[str, str]
    preprocessing: dict[str, Any]
    preprocessing_sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Images to look at, and their record."""

    paths: tuple[Path, ...]
    record: Record
    spec: ModelSpec

    def tensors(self) -> Iterator[NDArray[np.float32]]:
        """The images as the network will see them, float32 ``[1, 3, H, W]``, one at a time."""
        for path in track(self.paths, "look at activations", len(self.paths)):
            yield prepare(read_image(path), self.spec)[0]


def choose(
    dataset: Dataset,
    spec: ModelSpec,
    *,
    split: str = SPLIT,
    count: int = IMAGES,
    verified_on: Sequence[Path] = (),
) -> Calibration:
    """Take images of a split.

    Args:
        dataset: Where the images are.
        spec: Says the pre-processing.
        split: ``train``, but for a check that fits nothing to the images.
        count: How many; all if the split has fewer.
        verified_on: Images that the result will be verified on.

    Raises:
        DataError: An image is also one that the result is verified on, by content.
        UsageError: The data set has no such split, or the count is not positive.
    """
    if count < 1:
        raise UsageError(
            f"{count} calibration images are none", hint="--calib-images 1 or more; 128 is usual"
        )
    paths = _spread(dataset, dataset.images(split), count)
    hashes = {path: sha256_file(path) for path in paths}
    held_out = {sha256_file(path): path for path in verified_on}
    twice = [path for path in paths if hashes[path] in held_out]
    if twice:
        raise DataError(
            f"{len(twice)} of {len(paths)} calibration images are also verified on, "
            f"e.g. {twice[0].name} is {held_out[hashes[twice[0]]].name}",
            hint="verify on a split that calibration does not see; `edgestill data check` lists duplicates",
        )
    return Calibration(tuple(paths), _record(dataset, spec, split, hashes), spec)


def _record(dataset: Dataset, spec: ModelSpec, split: str, hashes: dict[Path, str]) -> Record:
    root = dataset.path.parent
    preprocessing = {
        "input_hw": list(spec.input_hw),
        "pixel_order": spec.pixel_order,
        "scale": spec.scale,
        "pad_value": spec.pad_value,
        "resize": "letterbox, bilinear",
    }
    text = json.dumps(preprocessing, sort_keys=True)
    names = {p: str(p.relative_to(root)) if p.is_relative_to(root) else str(p) for p in hashes}
    return Record(
        data=str(dataset.path),
        split=split,
        images={names[path]: digest for path, digest in hashes.items()},
        preprocessing=preprocessing,
        preprocessing_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def _spread(dataset: Dataset, images: list[Path], count: int) -> list[Path]:
    """Images from all strata in turn, in a fixed order that has nothing to do with their names."""
    shuffled = sorted(images, key=lambda p: hashlib.sha256(p.name.encode()).digest())
    if len(shuffled) <= count:
        return shuffled
    candidates = shuffled[: count * CANDIDATES_PER_IMAGE]
    looks = [_look(dataset, path) for path in track(candidates, "choose images", len(candidates))]
    light, size = (_thirds([look[i] for look in looks]) for i in range(2))
    strata: dict[tuple[int, int], list[Path]] = {}
    for path, where in zip(candidates, zip(light, size, strict=True), strict=True):
        strata.setdefault(where, []).append(path)
    queues = [strata[key] for key in sorted(strata)]
    deepest = max(len(queue) for queue in queues)
    in_turn = [queue[i] for i in range(deepest) for queue in queues if i < len(queue)]
    return in_turn[:count]


def _look(dataset: Dataset, path: Path) -> tuple[float, float]:
    """Mean brightness, and the mean height of what is labelled as a fraction of the image; 0 without."""
    heights = dataset.labels(path).cxcywh[:, 3]
    return float(read_image(path)[::8, ::8].mean()), float(heights.mean()) if len(heights) else 0.0


def _thirds(values: list[float]) -> list[int]:
    """Which third each value falls in."""
    edges = np.quantile(values, [k / THIRDS for k in range(1, THIRDS)])
    return [int(np.searchsorted(edges, value)) for value in values]
