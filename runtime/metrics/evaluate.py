"""Accuracy of a detector on labelled images: average precision by the COCO protocol, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from edgestill.dataset import Dataset, read_image, say_remarks
from edgestill.dataset_files.image_source import source_of
from edgestill.detections import Detections
from edgestill.errors import DataError, UsageError
from edgestill.progress import progress
from runtime.metrics.class_map import ClassMap
from runtime.metrics.coco import (
    AREA,
    SHORT_SIDE,
    Score,
    Truth,
    by_class_and_size,
    by_size,
    mean,
    precision_table,
)
from runtime.metrics.confusion import taken_for

if TYPE_CHECKING:
    from runtime.detector import Detector

#: Thresholds of evaluation, those of YOLOv5's val: nearly all boxes count, and boxes are multi-label.
EVAL_CONF = 0.001
EVAL_IOU = 0.6

IOU_75 = 5  # index of IoU 0.75 among 0.50, 0.55, ... 0.95
RARE_LABELS = 100  # with fewer, a few boxes change the AP by several points
MAX_SOURCES = 20  # more file-name prefixes than this are not names of sources


class SourceScore(TypedDict):
    """Mean average precision over the images of one source."""

    images: int
    labels: int
    map50: float | None
    map50_95: float | None
    per_class: dict[str, Score]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Accuracy of a detector on a set of labelled images. AP is a fraction in [0, 1].

    Attributes:
        images: Number of images.
        labels: Number of labels in them.
        map50: Mean AP at IoU 0.50 over the classes with labels; None if there are none.
        map50_95: The same over IoU 0.50 to 0.95.
        map75: The same at IoU 0.75.
        per_class: By class name; AP is None for a class without labels, which is not in the mean.
        by_size: By ``small``, ``medium``, ``large``: means over the classes with labels of that size.
        by_class_and_size: The same for each class.
        by_short_side_px: Means over the classes by the shorter side of a box in source pixels; set by
            ``score_images``.
        per_source: By file-name prefix, if the images are from several sources.
        taken_for: Confusion matrix by class name, see ``runtime.metrics.confusion``; set by ``score_images``.
        doubts: Reasons not to quote some of the figures.
    """

    images: int
    labels: int
    map50: float | None
    map50_95: float | None
    map75: float | None
    per_class: dict[str, Score]
    by_size: dict[str, Score]
    by_class_and_size: dict[str, dict[str, Score]]
    by_short_side_px: dict[str, Score] = field(default_factory=dict)
    per_source: dict[str, SourceScore] = field(default_factory=dict)
    taken_for: dict[str, dict[str, int]] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()


def score(
    predictions: Sequence[Detections],
    truths: Sequence[Truth],
    classes: Sequence[str],
    image_hws: Sequence[tuple[int, int]],
) -> Accuracy:
    """Score detections against labels, given image by image in the same order.

    Args:
        predictions: Detections of each image, in source pixels.
        truths: Labels of each image, in source pixels.
        classes: Class names by class id.
        image_hws: Height and width of each image, pixels.

    Raises:
        ValueError: The three sequences differ in length.
        DeviceError: faster-coco-eval is not installed.
    """
    if not len(predictions) == len(truths) == len(image_hws):
        raise ValueError(
            f"{len(predictions)} predictions, {len(truths)} truths, {len(image_hws)} image sizes: one each"
        )
    precision = precision_table(predictions, truths, classes, image_hws)
    labels = np.concatenate([np.zeros(0, np.int64), *(t.class_id for t in truths)])
    per_class: dict[str, Score] = {
        name: {
            "ap50": mean(precision[0, :, k, 0]),
            "ap50_95": mean(precision[:, :, k, 0]),
            "labels": int(np.count_nonzero(labels == k)),
        }
        for k, name in enumerate(classes)
    }
    return Accuracy(
        images=len(truths),
        labels=labels.size,
        map50=mean(precision[0, :, :, 0]),
        map50_95=mean(precision[:, :, :, 0]),
        map75=mean(precision[IOU_75, :, :, 0]),
        per_class=per_class,
        by_size=by_size(precision, truths, AREA),
        by_class_and_size=by_class_and_size(precision, truths, classes, AREA),
        doubts=_doubts(per_class),
    )


def evaluate(
    detector: Detector,
    dataset: Dataset,
    split: str,
    *,
    label: str = "eval",
    limit: int | None = None,
    class_map: ClassMap | None = None,
) -> Accuracy:
    """Run a detector on a split and score it; progress goes to stderr.

    The detector should be opened with ``EVAL_CONF``, ``EVAL_IOU`` and ``multi_label``.

    Args:
        detector: The model.
        dataset: The images and labels.
        split: ``train``, ``val`` or ``test``.
        label: Label of the progress bar.
        limit: Number of images, spread evenly over the split; None for all.
        class_map: The scored classes, where the model has others than the data set; None for the same.

    Raises:
        DataError: Model and data set have different classes and there is no class map, or an image or label
            is broken.
        UsageError: The data set has no such split, or the limit is not positive.
    """
    if class_map is None:
        check_classes(detector.spec.classes, dataset)
    images = spread(dataset.images(split), limit)
    found: list[Detections] = []
    truths: list[Truth] = []
    image_hws: list[tuple[int, int]] = []
    with progress(label, len(images)) as advance:
        for path in images:
            labels = dataset.labels(path)
            image = read_image(path)
            hw = (image.shape[0], image.shape[1])
            truths.append(Truth(labels.xyxy_px(hw), labels.class_id))
            found.append(detector(image))
            image_hws.append(hw)
            advance()
    say_remarks(dataset)
    if class_map is None:
        return score_images(images, found, truths, dataset.classes, image_hws)
    accuracy = score_images(
        images,
        [class_map.detections(one, iou=EVAL_IOU) for one in found],
        [class_map.truth(one) for one in truths],
        class_map.classes,
        image_hws,
    )
    left_out = class_map.left_out(truths, detector.spec.classes, dataset.classes)
    return replace(accuracy, doubts=(*left_out, *accuracy.doubts))


def score_images(
    images: Sequence[Path],
    predictions: Sequence[Detections],
    truths: Sequence[Truth],
    classes: Sequence[str],
    image_hws: Sequence[tuple[int, int]],
) -> Accuracy:
    """``score`` with the splits by shorter side and by source, and the confusion matrix."""
    per_source = {
        name: _slice(predictions, truths, classes, image_hws, where)
        for name, where in _by_source(images).items()
    }
    precision = precision_table(predictions, truths, classes, image_hws, sizes=SHORT_SIDE)
    return replace(
        score(predictions, truths, classes, image_hws),
        by_short_side_px=by_size(precision, truths, SHORT_SIDE),
        per_source=per_source,
        taken_for=taken_for(predictions, truths, classes),
    )


def check_classes(
    classes: Sequence[str],
    dataset: Dataset,
    hint: str = "use a data set with the classes of the model, in the same order",
) -> None:
    """Raise DataError, with the hint, unless model and data set have the same classes in the same order."""
    if tuple(classes) == dataset.classes:
        return
    if len(classes) != len(dataset.classes):
        what = f"the model has {len(classes)} classes and {dataset.path} has {len(dataset.classes)}"
    else:
        k = next(k for k, pair in enumerate(zip(classes, dataset.classes, strict=True)) if len(set(pair)) > 1)
        what = f"class {k} is {classes[k]!r} in the model and {dataset.classes[k]!r} in {dataset.path}"
    raise DataError(what, hint=hint)


def _doubts(per_class: dict[str, Score]) -> tuple[str, ...]:
    rare = [f"{name} {s['labels']}" for name, s in per_class.items() if s["labels"] < RARE_LABELS]
    if not rare:
        return ()
    return (f"classes with under {RARE_LABELS} labels, whose AP is mostly noise: {', '.join(rare)}",)


def spread(images: list[Path], limit: int | None) -> list[Path]:
    """At most ``limit`` of the images, spread evenly over their order; all of them for None.

    Raises:
        UsageError: The limit is not positive.
    """
    if limit is None or limit >= len(images):
        return images
    if limit < 1:
        raise UsageError(f"the limit is {limit} images", hint="give 1 or more, or no limit")
    return [images[i * len(images) // limit] for i in range(limit)]


def _by_source(images: Sequence[Path]) -> dict[str, list[int]]:
    """Image indices by file-name prefix before the first ``_``; empty unless there are several sources."""
    groups: dict[str, list[int]] = {}
    for position, path in enumerate(images):
        source = source_of(path)
        if not source:
            return {}
        groups.setdefault(source, []).append(position)
    return dict(sorted(groups.items())) if 1 < len(groups) <= MAX_SOURCES else {}


def _slice(
    found: Sequence[Detections],
    truths: Sequence[Truth],
    classes: Sequence[str],
    image_hws: Sequence[tuple[int, int]],
    where: Sequence[int],
) -> SourceScore:
    picked = [found[i] for i in where], [truths[i] for i in where], [image_hws[i] for i in where]
    part = score(picked[0], picked[1], classes, picked[2])
    return {
        "images": part.images,
        "labels": part.labels,
        "map50": part.map50,
        "map50_95": part.map50_95,
        "per_class": part.per_class,
    }
