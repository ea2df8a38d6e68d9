"""Precision by the COCO protocol: over IoU, recall, class and size of the objects.

101 recall points, IoU 0.50 to 0.95 in steps of 0.05, at most 100 detections per class and image; all labels
count: YOLO labels know no crowds. Sizes are areas in pixels of the source image: small below 32 x 32, large
from 96 x 96. As in the protocol, labels of another size are ignored: they are no misses, and neither a
detection on them nor an unmatched detection of another size is false. Nearly all traffic lights are small, so
results are also split by the shorter side of the box. The tests compare all of it with pycocotools, to 1e-6.

Source: https://cocodataset.org/#detection-eval
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.errors import missing_library

MAX_DETECTIONS = 100  # per class and image, as in the protocol


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The labels (ground truth) of one image.

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


class Score(TypedDict):
    """Average precision of one class or size; None if it has no labels."""

    ap50: float | None
    ap50_95: float | None
    labels: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """A split of objects by size.

    Attributes:
        bounds: Smallest and largest extent, by name.
        extent: From widths and heights ``[N, 2]`` in pixels to the values that are used as area ``[N]``.
    """

    bounds: Mapping[str, tuple[float, float]]
    extent: Callable[[NDArray[Any]], NDArray[Any]]


AREA = Sizes(
    {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e5**2)},
    lambda sides: np.prod(sides, axis=1),
)
SHORT_SIDE = Sizes(
    {"0-8": (0, 8**2), "8-16": (8**2, 16**2), "16-32": (16**2, 32**2), "32+": (32**2, 1e5**2)},
    lambda sides: sides.min(axis=1) ** 2,
)


def precision_table(
    predictions: Sequence[Detections],
    truths: Sequence[Truth],
    classes: Sequence[str],
    image_hws: Sequence[tuple[int, int]],
    *,
    sizes: Sizes = AREA,
) -> NDArray[np.float64]:
    """Precision over IoU, recall point, class and size (all, small, ...).

    Returns:
        float64 ``[T, R, K, A]``; -1 where there are no labels.

    Raises:
        DeviceError: faster-coco-eval is not installed.
    """
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
        for number, entry in enumerate(entries, 1):  # from 1, since the library uses 0 for "unmatched"
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
    image_id: int, xyxy: NDArray[np.float32], class_id: NDArray[np.int64], sizes: Sizes
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


def mean(precision: NDArray[np.float64]) -> float | None:
    """Average precision of a part of the table; None if it has no labels."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


def by_size(precision: NDArray[np.float64], truths: Sequence[Truth], sizes: Sizes) -> dict[str, Score]:
    """Mean over the classes for each size, from the result of ``precision_table`` with the same sizes."""
    sides = [t.xyxy[:, 2:].astype(np.float64) - t.xyxy[:, :2] for t in truths]
    extents = sizes.extent(np.concatenate([np.zeros((0, 2)), *sides]))
    return {
        name: {
            "ap50": mean(precision[0, :, :, a]),
            "ap50_95": mean(precision[:, :, :, a]),
            # Both bounds are inclusive, as in the reference code: a box of 32 x 32 is small and medium.
            "labels": int(np.count_nonzero((extents >= low) & (extents <= high))),
        }
        for a, (name, (low, high)) in enumerate(sizes.bounds.items(), 1)
    }


def by_class_and_size(
    precision: NDArray[np.float64], truths: Sequence[Truth], classes: Sequence[str], sizes: Sizes
) -> dict[str, dict[str, Score]]:
    """Precision of each class for each size, from the result of ``precision_table`` with the same sizes."""
    return {
        name: by_size(precision[:, :, k : k + 1], [_only(truth, k) for truth in truths], sizes)
        for k, name in enumerate(classes)
    }


def _only(truth: Truth, class_id: int) -> Truth:
    """The labels of one class."""
    keep = truth.class_id == class_id
    return Truth(truth.xyxy[keep], truth.class_id[keep])


def curves(
    predictions: Sequence[Detections],
    truths: Sequence[Truth],
    classes: Sequence[str],
    image_hws: Sequence[tuple[int, int]],
) -> dict[str, NDArray[np.float64]]:
    """Precision-recall curves at IoU 0.50 by class; arguments as of ``runtime.metrics.evaluate.score``.

    Returns:
        Interpolated precision at recall 0, 0.01, ... 1, ``[101]`` for each class with labels; 0 above the
        highest recall that is reached.
    """
    precision = precision_table(predictions, truths, classes, image_hws)[0, :, :, 0]
    return {name: precision[:, k] for k, name in enumerate(classes) if precision[0, k] > -1}
