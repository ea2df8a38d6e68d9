"""Confusion matrix of a detector: the class of each label against that of the detection matched with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgestill.boxes import pairwise_iou
from edgestill.detections import Detections
from runtime.metrics.coco import Truth

CONF, IOU = 0.25, 0.5


def confusion(
    predictions: Sequence[Detections],
    truths: Sequence[Truth],
    nc: int,
    *,
    conf: float = CONF,
    iou: float = IOU,
) -> NDArray[np.int64]:
    """The confusion matrix over some images.

    Detections are matched greedily, highest score first: each with the free label of the largest IoU, of any
    class, if that IoU is at least ``iou``.

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
        kept = np.flatnonzero(found.score >= conf)
        kept = kept[np.argsort(-found.score[kept], kind="stable")]
        overlaps = pairwise_iou(found.xyxy[kept], truth.xyxy)
        free = np.ones(len(truth.class_id), bool)
        for row, class_id in zip(overlaps, found.class_id[kept], strict=True):
            open_ = np.where(free, row, -1.0)
            best = int(open_.argmax()) if len(open_) else -1
            if best >= 0 and open_[best] >= iou:
                free[best] = False
                counts[truth.class_id[best], class_id] += 1
            else:
                counts[nc, class_id] += 1
        np.add.at(counts[:, nc], truth.class_id[free], 1)
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
