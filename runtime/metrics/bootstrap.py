"""Bootstrap over test images: mean average precision on resampled images, from stored detections.

Detections are matched with labels once for each image, since matching does not depend on other images. A
resample then weights images by how often they were drawn, and all models are given the same draws. The
protocol is that of ``runtime.metrics.evaluate``: with all weights 1 the result equals its score.

Images of one drive are correlated. With ``groups``, whole sequences of images are drawn, not single images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgestill.boxes import pairwise_iou
from edgestill.detections import Detections
from runtime.metrics.coco import MAX_DETECTIONS, Truth

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
CHUNK = 250  # resamples at a time, which take some tens of MB

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The detections of one class over all images, highest score first.

    Attributes:
        image: Index of the image of each detection; ``[D]``.
        hits: For each IoU threshold, ranks of the true positives.
        labels: Number of labels in each image; ``[I]``.
    """

    image: Ints
    hits: Sequence[Ints]
    labels: Ints


def draws(images: int, resamples: int, seed: int = 0, groups: Sequence[int] | None = None) -> Ints:
    """How often each image is drawn; int64 ``[1 + resamples, images]``. The first row is all ones.

    Args:
        images: Number of images.
        resamples: Number of draws.
        seed: Of the draws.
        groups: The group of each image, counted from 0; whole groups are drawn, as many as there are.
            None draws single images.
    """
    of_image = np.arange(images) if groups is None else np.asarray(groups)
    units = int(of_image.max(initial=-1)) + 1
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=resamples)
    return np.concatenate((np.ones((1, images), np.int64), drawn[:, of_image]))


def resampled(
    predictions: Sequence[Detections],
    truths: Sequence[Truth],
    classes: int,
    weights: Ints,
    *,
    primary: Sequence[int] = (),
) -> NDArray[np.float64]:
    """mAP50 and mAP50-95 of a model on resampled images, and the mean AP50-95 of some classes.

    Args:
        predictions: Detections of each image, in source pixels.
        truths: Labels of each image, in the same order.
        classes: Number of classes.
        weights: From ``draws``, ``[rows, images]``.
        primary: Indices of the classes of the third column; empty for no such column.

    Returns:
        float64 ``[rows, 2]`` or, with ``primary``, ``[rows, 3]``, a row for each row of ``weights``; NaN
        where no label was drawn.
    """
    ranked = [rank(predictions, truths, k) for k in range(classes)]
    parts = []
    for start in range(0, len(weights), CHUNK):
        chunk = weights[start : start + CHUNK]
        scores = np.stack([_precision(one, chunk) for one in ranked])  # [K, T, rows]
        mean = _mean_of_known(scores)
        columns = [mean[0], mean.mean(0)]
        if primary:
            columns.append(_mean_of_known(scores[list(primary)]).mean(0))
        parts.append(np.stack(columns, axis=1))
    return np.concatenate(parts)


def _mean_of_known(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the classes of which labels were drawn; ``[K, T, rows]`` to ``[T, rows]``."""
    known = ~np.isnan(scores)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.where(known, scores, 0).sum(0) / known.sum(0)
    return mean


def rank(predictions: Sequence[Detections], truths: Sequence[Truth], class_id: int) -> Ranked:
    """Match the detections of one class with its labels, and sort them by score over all images."""
    scores, images, hits = [], [], []
    labels = np.zeros(len(truths), np.int64)
    for i, (found, truth) in enumerate(zip(predictions, truths, strict=True)):
        best = _best_first(found, class_id)
        true = truth.xyxy[truth.class_id == class_id]
        labels[i] = len(true)
        scores.append(best.score)
        images.append(np.full(len(best), i))
        hits.append(_matched(best, true))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hit = np.concatenate(hits, axis=1)[:, order]
    return Ranked(np.concatenate(images)[order], [np.flatnonzero(row) for row in hit], labels)


def _best_first(found: Detections, class_id: int) -> Detections:
    ours = found.where(found.class_id == class_id)
    return ours.where(np.argsort(-ours.score, kind="stable")[:MAX_DETECTIONS])


def _matched(found: Detections, true: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each detection is a true positive, by IoU threshold; ``[T, N]``.

    Each detection, highest score first, is matched with the free label of the largest IoU.
    """
    hit = np.zeros((len(IOUS), len(found)), bool)
    if not len(found) or not len(true):
        return hit
    overlaps = pairwise_iou(found.xyxy.astype(np.float64), true.astype(np.float64))
    free = np.ones((len(IOUS), len(true)), bool)
    for n in np.flatnonzero(overlaps.max(1) >= IOUS[0]):
        # Reversed: of equal IoUs the last label is taken, as in the reference code of the protocol.
        best = np.where(free, overlaps[n], -1)[:, ::-1]
        pick = len(true) - 1 - best.argmax(1)
        taken = best.max(1) >= IOUS
        hit[:, n] = taken
        free[np.flatnonzero(taken), pick[taken]] = False
    return hit


def _precision(ranked: Ranked, weights: Ints) -> NDArray[np.float64]:
    """Average precision by IoU and row of ``weights``; ``[T, rows]``, NaN where no label was drawn."""
    labels = weights @ ranked.labels
    last = max((int(hits[-1]) for hits in ranked.hits if len(hits)), default=-1)
    drawn = weights[:, ranked.image[: last + 1]]
    seen = drawn.cumsum(1)
    passed = _recalls_passed(labels)
    scores = np.zeros((len(IOUS), len(weights)))
    for t, hits in enumerate(ranked.hits):
        if len(hits):
            true = drawn[:, hits].cumsum(1)
            precision = true / np.maximum(seen[:, hits], 1)
            # Interpolated precision: the highest precision at this recall or a higher one.
            precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            steps = np.diff(np.take_along_axis(passed, true, axis=1), axis=1, prepend=0)
            scores[t] = (precision * steps).sum(1) / len(RECALLS)
    return np.where(labels > 0, scores, np.nan)


def _recalls_passed(labels: Ints) -> Ints:
    """Number of recall points reached with 0, 1, ... true positives; ``[rows, 1 + most labels]``."""
    table = np.zeros((len(labels), 1 + int(labels.max(initial=0))), np.int64)
    for count in np.unique(labels[labels > 0]):
        reached = np.searchsorted(RECALLS, np.arange(1, count + 1) / count, side="right")
        table[labels == count, 1 : count + 1] = reached
    return table
