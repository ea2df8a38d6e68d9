"""How good a detector is on labelled images: average precision by the COCO protocol, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from edgestill.dataset import Dataset, read_image
from edgestill.detections import Detections
from edgestill.errors import DataError, UsageError
from edgestill.progress import progress
from runtime.metrics.coco import AREA, SHORT_SIDE, Score, Truth, by_size, mean, precision_table
from runtime.metrics.confusion import taken_for

if TYPE_CHECKING:
    from runtime.detector import Detector

#: The evaluation setting: nearly every candidate counts, and a box may be reported for several classes.
EVAL_CONF = 0.001
EVAL_IOU = 0.6

RARE_LABELS = 100  # with fewer, a handful of boxes moves the AP by whole points
MAX_SOURCES = 20  # more prefixes than this are image numbers, not sources


class SourceScore(TypedDict):
    """Mean average precision over the images of one source."""

    images: int
    labels: int
    map50: float | None
    map50_95: float | None
    per_class: dict[str, Score]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How good a detector is on a set of labelled images. AP is a fraction in [0, 1].

    Attributes:
        images: Images that were looked at.
        labels: True boxes in them.
        map50: Mean AP at IoU 0.50 over the classes that have labels; None if none has.
        map50_95: The same over IoU 0.50 to 0.95.
        per_class: By class name; AP is None for a class without labels, which is not in the mean.
        by_size: By ``small``, ``medium``, ``large``: means over the classes that have labels of that size.
        by_short_side_px: The same by the shorter side of a box in source pixels; filled by ``score_images``.
        per_source: By file-name prefix, where the images come from several sources.
        taken_for: What the true boxes of a class were taken for, see ``runtime.metrics.confusion``; filled by
            ``score_images``.
        doubts: Reasons not to quote single numbers of this.
    """

    images: int
    labels: int
    map50: float | None
    map50_95: float | None
    per_class: dict[str, Score]
    by_size: dict[str, Score]
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
    """Compare detections with labels, image by image in the same order.

    Args:
        predictions: What was found, in source pixels.
        truths: What is there, in source pixels.
        classes: Class names; the position is the class id of both.
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
        per_class=per_class,
        by_size=by_size(precision, truths, AREA),
        doubts=_doubts(per_class),
    )


def evaluate(
    detector: Detector, dataset: Dataset, split: str, *, label: str = "eval", limit: int | None = None
) -> Accuracy:
    """Run a detector over a split and score it; progress goes to stderr.

    The detector should be open at ``EVAL_CONF`` and ``EVAL_IOU`` with several labels a box allowed.

    Args:
        detector: Anything that turns an image into detections.
        dataset: Where the images and labels are.
        split: ``train``, ``val`` or ``test``.
        label: What the progress line is called.
        limit: Use this many images, spread evenly over the split; None for all.

    Raises:
        DataError: The classes of model and data differ, or an image or label is broken.
        UsageError: The data set has no such split, or the limit is not positive.
    """
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
    return score_images(images, found, truths, dataset.classes, image_hws)


def score_images(
    images: Sequence[Path],
    predictions: Sequence[Detections],
    truths: Sequence[Truth],
    classes: Sequence[str],
    image_hws: Sequence[tuple[int, int]],
) -> Accuracy:
    """``score``, and more: by shorter side, by source where file names tell, what is taken for what."""
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


def check_classes(classes: Sequence[str], dataset: Dataset) -> None:
    """Raise DataError unless model and data set name the same classes in the same order."""
    if tuple(classes) == dataset.classes:
        return
    if len(classes) != len(dataset.classes):
        what = f"the model has {len(classes)} classes and {dataset.path} has {len(dataset.classes)}"
    else:
        k = next(k for k, pair in enumerate(zip(classes, dataset.classes, strict=True)) if len(set(pair)) > 1)
        what = f"class {k} is {classes[k]!r} in the model and {dataset.classes[k]!r} in {dataset.path}"
    raise DataError(what, hint="use data whose names are those of the model, in the same order")


def _doubts(per_class: dict[str, Score]) -> tuple[str, ...]:
    rare = [f"{name} {s['labels']}" for name, s in per_class.items() if s["labels"] < RARE_LABELS]
    if not rare:
        return ()
    return (f"classes with under {RARE_LABELS} labels, whose AP is mostly noise: {', '.join(rare)}",)


def spread(images: list[Path], limit: int | None) -> list[Path]:
    """At most ``limit`` of the images, evenly over their order; all of them for None.

    Raises:
        UsageError: The limit is not positive.
    """
    if limit is None or limit >= len(images):
        return images
    if limit < 1:
        raise UsageError(f"a limit of {limit} images leaves nothing to look at", hint="ask for 1 or more")
    return [images[i * len(images) // limit] for i in range(limit)]


def _by_source(images: Sequence[Path]) -> dict[str, list[int]]:
    """Image positions by file-name prefix before the first ``_``; empty unless there are several sources."""
    groups: dict[str, list[int]] = {}
    for position, path in enumerate(images):
        prefix, separator, _ = path.name.partition("_")
        if not separator or prefix.isdigit():
            return {}
        groups.setdefault(prefix, []).append(position)
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
