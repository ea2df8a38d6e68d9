"""Precision by the COCO protocol: over IoU, recall, class and size of the objects.

101 recall points, IoU 0.50 to 0.95 in steps of 0.05, at most 100 detections a class and image, every label
counted. Sizes are areas in pixels of the source image: small below 32 x 32, large from 96 x 96. Lights, which
are nearly all small, are told apart by their shorter side as well.

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

MAX_DETECTIONS = 100  # a class and image, the protocol's own number


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


class Score(TypedDict):
    """Average precision of one class or size; None where there is nothing to find."""

    ap50: float | None
    ap50_95: float | None
    labels: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """How objects are told apart by size.

    Attributes:
        bounds: Least and greatest extent, by name.
        extent: From widths and heights ``[N, 2]`` in pixels to what stands where the protocol has the area.
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
    """Average precision of a part of the table; None where it holds no label."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


def by_size(precision: NDArray[np.float64], truths: Sequence[Truth], sizes: Sizes) -> dict[str, Score]:
    """Means over the classes of what ``precision_table`` gave for these sizes."""
    sides = [t.xyxy[:, 2:].astype(np.float64) - t.xyxy[:, :2] for t in truths]
    extents = sizes.extent(np.concatenate([np.zeros((0, 2)), *sides]))
    return {
        name: {
            "ap50": mean(precision[0, :, :, a]),
            "ap50_95": mean(precision[:, :, :, a]),
            # Both bounds count, as in the protocol's own code: a box of 32 x 32 is small and medium.
            "labels": int(np.count_nonzero((extents >= low) & (extents <= high))),
        }
        for a, (name, (low, high)) in enumerate(sizes.bounds.items(), 1)
    }


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
    precision = precision_table(predictions, truths, classes, image_hws)[0, :, :, 0]
    return {name: precision[:, k] for k, name in enumerate(classes) if precision[0, k] > -1}
