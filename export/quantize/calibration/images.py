"""Choose the images that INT8 ranges come from, and keep a record of them.

They come from the training split only, see ``export.quantize.calibration.stratify`` for which of them, and
none may be an image that the result is judged by: a range that was fitted to the test flatters the test.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

import edgestill
from edgestill.dataset import Dataset, read_image
from edgestill.errors import DataError, UsageError
from edgestill.files import sha256_file
from edgestill.progress import track
from edgestill.spec import ModelSpec
from export.quantize.calibration.stratify import stratify
from runtime.letterbox import prepare
from runtime.metrics.evaluate import spread

SPLIT = "train"
JUDGES = ("val", "test")  # splits that ranges may not come from
IMAGES = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRecord:
    """Where ranges came from.

    Attributes:
        data: The ``data.yaml``.
        split: Of that data set.
        images: SHA-256 of the file by its name, relative to the data set.
        strata: How many images of each kind, see ``export.quantize.calibration.stratify``.
        preprocessing: What was done to them: input size, channel order, scale, border.
        preprocessing_sha256: Hash of it.
        tools: Versions of what decoded, resized, ran and counted.
    """

    data: str
    split: str
    images: dict[str, str]
    strata: dict[str, int]
    preprocessing: dict[str, Any]
    preprocessing_sha256: str
    tools: dict[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Images to look at, and their record."""

    paths: tuple[Path, ...]
    record: CalibrationRecord
    spec: ModelSpec

    def tensors(self) -> Iterator[NDArray[np.float32]]:
        """The images as the network will see them, float32 ``[1, 3, H, W]``, one at a time."""
        for path in track(self.paths, "look at activations", len(self.paths)):
            yield self._tensor(path)

    def some(self, count: int) -> list[NDArray[np.float32]]:
        """At most ``count`` of the images, spread evenly, as the network will see them."""
        return [self._tensor(path) for path in spread([*self.paths], count)]

    def probe(self) -> str:
        """SHA-256 of the first image as the network will see it: another with other decoding or letterbox."""
        return hashlib.sha256(self._tensor(self.paths[0]).tobytes()).hexdigest()

    def _tensor(self, path: Path) -> NDArray[np.float32]:
        return prepare(read_image(path), self.spec)[0]


def choose_images(
    dataset: Dataset,
    spec: ModelSpec,
    *,
    split: str = SPLIT,
    count: int = IMAGES,
    fits: bool = True,
    verified_on: Sequence[Path] = (),
) -> Calibration:
    """Take images of a split.

    Args:
        dataset: Where the images are.
        spec: Says the pre-processing.
        split: ``train``, but for a check that fits nothing to the images.
        count: How many; all if the split has fewer.
        fits: Whether anything is fitted to the images; if not, they may be any.
        verified_on: Images that the result will be judged by, beside the data set's own ``val`` and ``test``.

    Raises:
        DataError: An image is also one that the result is judged by, by content, whatever its name.
        UsageError: The data set has no such split, or the count is not positive.
    """
    if count < 1:
        raise UsageError(
            f"{count} calibration images are none", hint="--calib-images 1 or more; 128 is usual"
        )
    chosen = stratify(dataset, dataset.images(split), count)
    hashes = {path: sha256_file(path) for path in chosen.paths}
    if fits:
        _refuse_judges(hashes, [*verified_on, *_own_judges(dataset)])
    record = _record(dataset, spec, split, hashes, dict(chosen.strata))
    return Calibration(chosen.paths, record, spec)


def same_content(hashes: dict[Path, str], others: Sequence[Path]) -> dict[Path, Path]:
    """Which of some files are also among others, by content.

    Args:
        hashes: SHA-256 by file.
        others: Where to look. Only those of a size that some file has are read.
    """
    sizes = {path.stat().st_size for path in hashes}
    found = {sha256_file(p): p for p in dict.fromkeys(others) if p.is_file() and p.stat().st_size in sizes}
    return {path: found[digest] for path, digest in hashes.items() if digest in found}


def _own_judges(dataset: Dataset) -> list[Path]:
    """The images of a data set that are for judging; a split that is not on this disk has none."""
    found: list[Path] = []
    for name in JUDGES:
        if name in dataset.splits and all(folder.is_dir() for folder in dataset.splits[name]):
            found += dataset.images(name)
    return found


def _refuse_judges(hashes: dict[Path, str], judges: Sequence[Path]) -> None:
    twice = same_content(hashes, judges)
    if twice:
        first, twin = next(iter(twice.items()))
        raise DataError(
            f"{len(twice)} of {len(hashes)} calibration images are also verified on, "
            f"e.g. {first.name} is {twin.name} of {twin.parent}",
            hint="calibrate on images that val, test and --verify do not hold; `edgestill data check` lists "
            "pictures that are in two splits",
        )


def _record(
    dataset: Dataset, spec: ModelSpec, split: str, hashes: dict[Path, str], strata: dict[str, int]
) -> CalibrationRecord:
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
    return CalibrationRecord(
        data=str(dataset.path),
        split=split,
        images={names[path]: digest for path, digest in hashes.items()},
        strata=strata,
        preprocessing=preprocessing,
        preprocessing_sha256=hashlib.sha256(text.encode()).hexdigest(),
        tools={
            "edgestill": edgestill.__version__,
            "numpy": np.__version__,
            "onnxruntime": onnxruntime.__version__,
            "opencv": cv2.__version__,
        },
    )
