"""Confusion matrix of a detector: the class of each label against that of the detection matched with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgestill.boxes import pairwise_iou
from edgestill.detections import Detections
from runtime.metrics.coco import Truth

CONF, IOU = 0.25, 0.5
MISSED = -1  # instead of the row of a detection


def match(found: Detections, truth: Truth, *, conf: float = CONF, iou: float = IOU) -> NDArray[np.int64]:
    """Match the detections of one image with its labels.

    Greedily, highest score first: each detection with the free label of the largest IoU, of any class, if
    that IoU is at least ``iou``.

    Args:
        found: The detections.
        truth: The labels.
        conf: Detections with a lower score are ignored.
        iou: Lowest IoU of a match.

    Returns:
        For each label, the row of its detection in ``found``, or ``MISSED``; int64 ``[N]``.
    """
    kept = np.flatnonzero(found.score >= conf)
    kept = kept[np.argsort(-found.score[kept], kind="stable")]
    matched = np.full(len(truth.class_id), MISSED, np.int64)
    for row, overlaps in zip(kept, pairwise_iou(found.xyxy[kept], truth.xyxy), strict=True):
        free = np.where(matched == MISSED, overlaps, -1.0)
        best = int(free.argmax()) if len(free) else MISSED
        if best != MISSED and free[best] >= iou:
            matched[best] = row
    return matched


def confusion(
    predictions: Sequence[Detections],
    truths: Sequence[Truth],
    nc: int,
    *,
    conf: float = CONF,
    iou: float = IOU,
) -> NDArray[np.int64]:
    """The confusion matrix over some images, of detections and labels that ``match`` joins.

    Args:
        predictions: Detections of each image.
        truths: Labels of each image, in the same order.
        nc: Number of classes.
        conf: Detections with a lower score are ignored.
        iou: Lowest IoU of a match.

    Returns:
        int64 ``[nc + 1, nc + 1]``: rows by class of the label, columns by class of the detection. The last
        row counts false positives, the last column missed labels.
    """
    counts = np.zeros((nc + 1, nc + 1), np.int64)
    for found, truth in zip(predictions, truths, strict=True):
        matched = match(found, truth, conf=conf, iou=iou)
        seen = np.where(matched == MISSED, nc, np.append(found.class_id, nc)[matched])
        np.add.at(counts, (truth.class_id, seen), 1)
        false = found.score >= conf
        false[matched[matched != MISSED]] = False
        np.add.at(counts[nc], found.class_id[false], 1)
    return counts


def taken_for(
    predictions: Sequence[Detections], truths: Sequence[Truth], classes: Sequence[str]
) -> dict[str, dict[str, int]]:
    """The confusion matrix by class names; arguments as of ``confusion``.

    Returns:
        For each class, the number of its labels by class of the detection, and ``missed``; under ``nothing``,
        false positives by class.
    """
    counts = confusion(predictions, truths, len(classes)).tolist()
    table = {
        name: dict(zip((*classes, "missed"), row, strict=True))
        for name, row in zip(classes, counts[:-1], strict=True)
    }
    return {**table, "nothing": dict(zip(classes, counts[-1][:-1], strict=True))}
