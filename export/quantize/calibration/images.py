"""Choose calibration images, and record them.

They come from the training split, see ``export.quantize.calibration.stratify``. None may be an image that the
result is evaluated on: ranges that were fitted on test images flatter the test.
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
EVALUATION_SPLITS = ("val", "test")  # ranges may not come from them
IMAGES = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRecord:
    """The record of calibration images, for the manifest.

    Attributes:
        data: Path of the ``data.yaml``.
        split: The split of the data set.
        images: SHA-256 by file name relative to the data set.
        strata: Number of images by stratum, see ``export.quantize.calibration.stratify``.
        preprocessing: Input size, channel order, scale and padding.
        preprocessing_sha256: Hash of ``preprocessing``.
        tools: Versions of the libraries that decoded the images and ran the network.
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
    """Calibration images, and their record.

    Attributes:
        paths: The images.
        record: Of them.
        spec: Defines the pre-processing.
    """

    paths: tuple[Path, ...]
    record: CalibrationRecord
    spec: ModelSpec

    def tensors(self) -> Iterator[NDArray[np.float32]]:
        """The images as inputs of the network, float32 ``[1, 3, H, W]``, one at a time."""
        for path in track(self.paths, "observe activations", len(self.paths)):
            yield self._tensor(path)

    def some(self, count: int) -> list[NDArray[np.float32]]:
        """At most ``count`` of the images, spread evenly, as inputs of the network."""
        return [self._tensor(path) for path in spread([*self.paths], count)]

    def probe(self) -> str:
        """SHA-256 of the first input of the network; it changes with the code of decoding and letterbox."""
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
    """Choose images of a split.

    Args:
        dataset: The data set.
        spec: Defines the pre-processing.
        split: ``train``, except for a check that fits nothing to the images.
        count: Number of images; all if the split has fewer.
        fits: Whether anything is fitted to the images; if not, they may be evaluation images.
        verified_on: Images of the verification, in addition to the data set's own ``val`` and ``test``.

    Raises:
        DataError: The content of an image is also in an evaluation split or in the verification.
        UsageError: The data set has no such split, or the count is not positive.
    """
    if count < 1:
        raise UsageError(
            f"{count} calibration images are not enough", hint="--calib-images 1 or more; 128 is usual"
        )
    chosen = stratify(dataset, dataset.images(split), count)
    hashes = {path: sha256_file(path) for path in chosen.paths}
    if fits:
        _refuse_evaluation_images(hashes, [*verified_on, *_evaluation_images(dataset)])
    record = _record(dataset, spec, split, hashes, dict(chosen.strata))
    return Calibration(chosen.paths, record, spec)


def same_content(hashes: dict[Path, str], others: Sequence[Path]) -> dict[Path, Path]:
    """Find duplicates by content.

    Args:
        hashes: SHA-256 by file.
        others: Files to compare with; only those of a size that a file of ``hashes`` has are read.

    Returns:
        By file of ``hashes`` with a duplicate, the duplicate.
    """
    sizes = {path.stat().st_size for path in hashes}
    found = {sha256_file(p): p for p in dict.fromkeys(others) if p.is_file() and p.stat().st_size in sizes}
    return {path: found[digest] for path, digest in hashes.items() if digest in found}


def _evaluation_images(dataset: Dataset) -> list[Path]:
    """The images of the evaluation splits; none of a split that is not on this disk."""
    found: list[Path] = []
    for name in EVALUATION_SPLITS:
        if dataset.is_there(name):
            found += dataset.images(name)
    return found


def _refuse_evaluation_images(hashes: dict[Path, str], evaluation: Sequence[Path]) -> None:
    duplicates = same_content(hashes, evaluation)
    if duplicates:
        first, second = next(iter(duplicates.items()))
        raise DataError(
            f"{len(duplicates)} of {len(hashes)} calibration images are also used for verification, "
            f"e.g. {first.name} is {second.name} of {second.parent}",
            hint="calibrate on images that are not in val, test or --verify; `edgestill data check` lists "
            "images that are in two splits",
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
