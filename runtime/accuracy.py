"""Average precision by the COCO protocol, without torch.

101 recall points, IoU 0.50 to 0.95 in steps of 0.05, at most 100 detections a class and image, every label
counted. Sizes are areas in pixels of the source image: small below 32 x 32, large from 96 x 96. Lights, which
are nearly all small, are told apart by their shorter side as well.

Source: https://cocodataset.org/#detection-eval
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from edgestill.dataset import Dataset, read_image
from edgestill.detections import Detections
from edgestill.errors import DataError, UsageError, missing_library
from edgestill.progress import progress

if TYPE_CHECKING:
    from runtime.detector import Detector

#: The evaluation setting: nearly every candidate counts, and a box may be reported for several classes.
EVAL_CONF = 0.001
EVAL_IOU = 0.6

MAX_DETECTIONS = 100  # a class and image, the protocol's own number
RARE_LABELS = 100  # with fewer, a handful of boxes moves the AP by whole points
MAX_SOURCES = 20  # more prefixes than this are image numbers, not sources


@dataclass(frozen=True, slots=True)
class _Sizes:
    """How objects are told apart by size.

    Attributes:
        bounds: Least and greatest extent, by name.
        extent: From widths and heights ``[N, 2]`` in pixels to what stands where the protocol has the area.
    """

    bounds: Mapping[str, tuple[float, float]]
    extent: Callable[[NDArray[Any]], NDArray[Any]]


_AREA = _Sizes(
    {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e5**2)},
    lambda sides: np.prod(sides, axis=1),
)
_SHORT_SIDE = _Sizes(
    {"0-8": (0, 8**2), "8-16": (8**2, 16**2), "16-32": (16**2, 32**2), "32+": (32**2, 1e5**2)},
    lambda sides: sides.min(axis=1) ** 2,
)


class Score(TypedDict):
    """Average precision of one class or size; None where there is nothing to find."""

    ap50: float | None
    ap50_95: float | None
    labels: int


class SourceScore(TypedDict):
    """Mean average precision over the images of one source."""

    images: int
    labels: int
    map50: float | None
    map50_95: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The true boxes of one image.

    Attributes:
        xyxy: Corners in pixels of the source image; float32 ``[N, 4]``.
        class_id: int64 ``[N]``.
    """

    xyxy: NDArray[np.float32]
    class_id: NDArray[np.int64]

    def __post_init__(self) -> None:
        n = len(self.class_id)
        if self.xyxy.shape != (n, 4):
            raise ValueError(f"Truth.xyxy has shape {self.xyxy.shape}, expected {(n, 4)}")


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
    precision = _precision(predictions, truths, classes, image_hws)
    labels = np.concatenate([np.zeros(0, np.int64), *(t.class_id for t in truths)])
    per_class: dict[str, Score] = {
        name: {
            "ap50": _mean(precision[0, :, k, 0]),
            "ap50_95": _mean(precision[:, :, k, 0]),
            "labels": int(np.count_nonzero(labels == k)),
        }
        for k, name in enumerate(classes)
    }
    return Accuracy(
        images=len(truths),
        labels=labels.size,
        map50=_mean(precision[0, :, :, 0]),
        map50_95=_mean(precision[:, :, :, 0]),
        per_class=per_class,
        by_size=_by_size(precision, truths, _AREA),
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
    """``score``, and once more by shorter side, and by source where the names of the files tell several."""
    per_source = {
        name: _slice(predictions, truths, classes, image_hws, where)
        for name, where in _by_source(images).items()
    }
    precision = _precision(predictions, truths, classes, image_hws, sizes=_SHORT_SIDE)
    return replace(
        score(predictions, truths, classes, image_hws),
        by_short_side_px=_by_size(precision, truths, _SHORT_SIDE),
        per_source=per_source,
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


def curves(
    predictions: Sequence[Detections],
    truths: Sequence[Truth],
    classes: Sequence[str],
    image_hws: Sequence[tuple[int, int]],
) -> dict[str, NDArray[np.float64]]:
    """Precision at IoU 0.50 for a recall of 0, 0.01, ... 1 or more, by class; arguments as of ``score``.

    Returns:
        ``[101]`` each, 0 beyond the recall that is reached. A class without labels has no curve.
    """
    precision = _precision(predictions, truths, classes, image_hws)[0, :, :, 0]
    return {name: precision[:, k] for k, name in enumerate(classes) if precision[0, k] > -1}


def _precision(
    predictions: Sequence[Detections],
    truths: Sequence[Truth],
    classes: Sequence[str],
    image_hws: Sequence[tuple[int, int]],
    *,
    sizes: _Sizes = _AREA,
) -> NDArray[np.float64]:
    """Precision ``[T, R, K, A]`` over IoU, recall point, class, size (all, small, ...); -1 without labels."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster  # noqa: PLC0415 (an extra: only scoring needs it)
    except ImportError as error:
        raise missing_library("scoring a detector", "faster-coco-eval", "eval") from error
    frame: dict[str, Any] = {
        "images": [{"id": i, "height": h, "width": w} for i, (h, w) in enumerate(image_hws, 1)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(classes, 1)],
    }
    labels = [entry for i, t in enumerate(truths, 1) for entry in _annotations(i, t.xyxy, t.class_id, sizes)]
    results = [
        {**entry, "score": float(s)}
        for i, p in enumerate(predictions, 1)
        for entry, s in zip(_annotations(i, p.xyxy, p.class_id, sizes), p.score, strict=True)
    ]
    for entries in (labels, results):
        for number, entry in enumerate(entries, 1):  # ids count from 1: 0 means "unmatched" inside
            entry["id"] = number
    evaluation = COCOeval_faster(
        COCO({**frame, "annotations": labels}),
        COCO({**frame, "annotations": results}),
        iouType="bbox",
        ranges={name: list(bounds) for name, bounds in sizes.bounds.items()},
    )
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"], np.float64)[..., 0]


def _annotations(
    image_id: int, xyxy: NDArray[np.float32], class_id: NDArray[np.int64], sizes: _Sizes
) -> list[dict[str, Any]]:
    corners = xyxy.astype(np.float64)
    sides = np.clip(corners[:, 2:] - corners[:, :2], 0, None)
    return [
        {
            "image_id": image_id,
            "category_id": int(k) + 1,
            "bbox": [float(x), float(y), float(w), float(h)],
            "area": float(extent),
            "iscrowd": 0,
        }
        for (x, y), (w, h), extent, k in zip(
            corners[:, :2], sides, sizes.extent(sides), class_id, strict=True
        )
    ]


def _mean(precision: NDArray[np.float64]) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


def _by_size(precision: NDArray[np.float64], truths: Sequence[Truth], sizes: _Sizes) -> dict[str, Score]:
    """Means over the classes of what ``_precision`` gave for these sizes."""
    sides = [t.xyxy[:, 2:].astype(np.float64) - t.xyxy[:, :2] for t in truths]
    extents = sizes.extent(np.concatenate([np.zeros((0, 2)), *sides]))
    return {
        name: {
            "ap50": _mean(precision[0, :, :, a]),
            "ap50_95": _mean(precision[:, :, :, a]),
            # Both bounds count, as in the protocol's own code: a box of 32 x 32 is small and medium.
            "labels": int(np.count_nonzero((extents >= low) & (extents <= high))),
        }
        for a, (name, (low, high)) in enumerate(sizes.bounds.items(), 1)
    }


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
    return {"images": part.images, "labels": part.labels, "map50": part.map50, "map50_95": part.map50_95}
