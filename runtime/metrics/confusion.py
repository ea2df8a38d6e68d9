"""Which class a detector takes for which: every true box against the detection that covers it."""

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
    """Count true boxes by their class and the class that was found there.

    The surest detection chooses first, among the true boxes that it overlaps by ``iou`` or more and that are
    still free: the one with the largest overlap, whatever its class.

    Args:
        predictions: What was found, image by image.
        truths: What is there, in the same order.
        nc: Number of classes.
        conf: Detections below this score do not count.
        iou: Smallest overlap of a detection with what it has found.

    Returns:
        ``[nc + 1, nc + 1]``: rows by true class, columns by found class. In the last row are the detections
        of nothing, in the last column the boxes that were missed.
    """
    counts = np.zeros((nc + 1, nc + 1), np.int64)
    for found, truth in zip(predictions, truths, strict=True):
        sure = np.flatnonzero(found.score >= conf)
        sure = sure[np.argsort(-found.score[sure], kind="stable")]
        overlaps = pairwise_iou(found.xyxy[sure], truth.xyxy)
        free = np.ones(len(truth.class_id), bool)
        for row, class_id in zip(overlaps, found.class_id[sure], strict=True):
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
    """What the true boxes of each class were taken for, in words; arguments as of ``confusion``.

    Returns:
        By true class, the number of its boxes by found class and ``missed``; under ``nothing``, the
        detections of nothing by class.
    """
    counts = confusion(predictions, truths, len(classes)).tolist()
    table = {
        name: dict(zip((*classes, "missed"), row, strict=True))
        for name, row in zip(classes, counts[:-1], strict=True)
    }
    return {**table, "nothing": dict(zip(classes, counts[-1][:-1], strict=True))}
