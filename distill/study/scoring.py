"""Evaluation of a trained network on a split: its scores, and all detections for later statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.checkpoints import native
from distill.models.counts import flops, parameter_count
from distill.training.torch_detector import TorchDetector
from edgestill.dataset import Dataset, read_image, say_remarks
from edgestill.detections import Detections
from edgestill.errors import UsageError
from edgestill.files import replacing
from edgestill.progress import progress
from runtime.metrics.coco import Truth
from runtime.metrics.evaluate import EVAL_CONF, EVAL_IOU, Accuracy, check_classes, score_images

AUTO_SPLITS = ("test", "val")  # tried by ``auto`` in this order


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitDetections:
    """Detections and labels of a split, image by image.

    Attributes:
        images: File names, in order.
        classes: Class names.
        predictions: Detections, in source pixels.
        truths: Labels, in source pixels.
        image_hws: Height and width of each image, pixels.
    """

    images: tuple[str, ...]
    classes: tuple[str, ...]
    predictions: Sequence[Detections]
    truths: Sequence[Truth]
    image_hws: Sequence[tuple[int, int]]


def choose_split(datasets: Sequence[Dataset], split: str) -> str:
    """The reported split: the given one; for ``auto``, ``test`` if there is one, else ``val``.

    Raises:
        UsageError: No data set has it.
    """
    wanted = AUTO_SPLITS if split == "auto" else (split,)
    for name in wanted:
        if any(name in dataset.splits for dataset in datasets):
            return name
    have = dict.fromkeys(name for dataset in datasets for name in dataset.splits)
    raise UsageError(
        f"{datasets[0].path} has no split {' or '.join(wanted)}", hint=f"it has: {', '.join(have)}"
    )


def evaluate_checkpoint(
    weights: Path, datasets: Sequence[Dataset], split: str, input_hw: tuple[int, int]
) -> tuple[Accuracy, SplitDetections]:
    """Run a checkpoint over a split in float32, by the project's own letterbox, decode and score.

    Args:
        weights: The checkpoint.
        datasets: Data sets with its classes.
        split: The split.
        input_hw: Height and width of the network's input, pixels, whatever size it was trained for.

    Raises:
        ArtifactError: The checkpoint cannot be read.
        DataError: Its classes are not the data's, or an image or label is broken.
    """
    model, spec, _ = native.load(weights)
    spec = spec.resized(input_hw)
    detector = TorchDetector(model, spec, conf=EVAL_CONF, iou=EVAL_IOU, multi_label=True)
    visits = [(d, path) for d in datasets if split in d.splits for path in d.images(split)]
    predictions, truths, image_hws = [], [], []
    for dataset in datasets:
        check_classes(spec.classes, dataset)
    with progress(f"scoring on {split}", len(visits)) as advance:
        for dataset, path in visits:
            image, labels = read_image(path), dataset.labels(path)
            hw = (image.shape[0], image.shape[1])
            predictions.append(detector(image))
            truths.append(Truth(labels.xyxy_px(hw), labels.class_id))
            image_hws.append(hw)
            advance()
    say_remarks(*datasets)
    paths = [path for _, path in visits]
    accuracy = score_images(paths, predictions, truths, spec.classes, image_hws)
    return accuracy, SplitDetections(
        images=tuple(path.name for path in paths),
        classes=tuple(spec.classes),
        predictions=predictions,
        truths=truths,
        image_hws=image_hws,
    )


def score_values(accuracy: Accuracy) -> dict[str, Any]:
    """The scores as a dictionary of JSON values."""
    return {f.name: getattr(accuracy, f.name) for f in fields(accuracy)}


def network_values(weights: Path, input_hw: tuple[int, int]) -> dict[str, float]:
    """Size of a checkpoint's network: ``parameters``, ``gflops``, and the same of its head as ``head_...``.

    Args:
        weights: The checkpoint.
        input_hw: Height and width of the input for the GFLOPs, pixels. Two FLOPs are counted for each
            multiply-add of a convolution.
    """
    model, _, _ = native.load(weights)
    head = model.model[-1]
    return {
        "parameters": parameter_count(model),
        "head_parameters": parameter_count(head),
        "gflops": flops(model, input_hw) / 1e9,
        "head_gflops": flops(model, input_hw, part=head) / 1e9,
    }


def save_detections(path: Path, detections: SplitDetections) -> None:
    """Write them as one ``.npz``: rows grouped by image, ``*_ends`` holds the end of each image's rows."""
    found, truths = detections.predictions, detections.truths
    arrays: dict[str, NDArray[np.generic]] = {
        "images": np.array(detections.images),
        "classes": np.array(detections.classes),
        "image_hws": np.array(detections.image_hws, np.int64).reshape(-1, 2),
        "xyxy": np.concatenate([d.xyxy for d in found]),
        "score": np.concatenate([d.score for d in found]),
        "class_id": np.concatenate([d.class_id for d in found]),
        "ends": np.cumsum([len(d) for d in found]),
        "true_xyxy": np.concatenate([t.xyxy for t in truths]),
        "true_class_id": np.concatenate([t.class_id for t in truths]),
        "true_ends": np.cumsum([len(t.class_id) for t in truths]),
    }
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # the stub takes allow_pickle for a name


def load_detections(path: Path) -> SplitDetections:
    """Read what ``save_detections`` wrote."""
    with np.load(path, allow_pickle=False) as file:
        held = {name: file[name] for name in file.files}
    ends, true_ends = held["ends"][:-1], held["true_ends"][:-1]
    found = zip(*(np.split(held[name], ends) for name in ("xyxy", "score", "class_id")), strict=True)
    truths = zip(*(np.split(held[name], true_ends) for name in ("true_xyxy", "true_class_id")), strict=True)
    return SplitDetections(
        images=tuple(map(str, held["images"])),
        classes=tuple(map(str, held["classes"])),
        predictions=[Detections(*arrays) for arrays in found],
        truths=[Truth(*arrays) for arrays in truths],
        image_hws=[(int(h), int(w)) for h, w in held["image_hws"]],
    )


def same_images(detections: Sequence[SplitDetections]) -> bool:
    """Whether all are of the same images with the same labels."""
    first = detections[0]
    return all(
        one.images == first.images and all(map(_same, one.truths, first.truths)) for one in detections[1:]
    )


def _same(a: Truth, b: Truth) -> bool:
    return np.array_equal(a.xyxy, b.xyxy) and np.array_equal(a.class_id, b.class_id)
