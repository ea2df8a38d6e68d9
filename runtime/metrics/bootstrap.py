"""Mean average precision of resampled test images, from detections that are kept: no network runs again.

An image's detections are matched with its labels once; which ones are true does not depend on the other
images. A resample then only weighs images by how often they were drawn, and all networks see the same draws.
The protocol is that of ``runtime.metrics.evaluate``: with every weight 1 the result is its score.

Images of one drive resemble each other, so the spread over independent drives is larger than this one.
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
CHUNK = 250  # resamples at once: some tens of MB

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The detections of one class over all images, highest score first.

    Attributes:
        image: Position of the image that each stands in; ``[D]``.
        hits: By IoU, ranks of the true ones.
        labels: True boxes by image; ``[I]``.
    """

    image: Ints
    hits: Sequence[Ints]
    labels: Ints


def draws(images: int, resamples: int, seed: int = 0) -> Ints:
    """How often each image is drawn; ``[1 + resamples, images]``, the first row once each."""
    drawn = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples)
    return np.concatenate((np.ones((1, images), np.int64), drawn))


def resampled(
    predictions: Sequence[Detections], truths: Sequence[Truth], classes: int, weights: Ints
) -> NDArray[np.float64]:
    """mAP50 and mAP50-95 of a network on resampled images.

    Args:
        predictions: What was found, by image, in source pixels.
        truths: What is there.
        classes: How many there are.
        weights: From ``draws``.

    Returns:
        float64 ``[rows, 2]``, a row for each of the weights; NaN where no label was drawn.
    """
    ranked = [rank(predictions, truths, k) for k in range(classes)]
    parts = []
    for start in range(0, len(weights), CHUNK):
        chunk = weights[start : start + CHUNK]
        scores = np.stack([_precision(one, chunk) for one in ranked])  # [K, T, rows]
        with np.errstate(invalid="ignore"):
            known = ~np.isnan(scores)
            mean = np.where(known, scores, 0).sum(0) / known.sum(0)  # over classes that were drawn
        parts.append(np.stack((mean[0], mean.mean(0)), axis=1))
    return np.concatenate(parts)


def rank(predictions: Sequence[Detections], truths: Sequence[Truth], class_id: int) -> Ranked:
    """Match and sort the detections of one class."""
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
    """Whether each detection is true, by IoU; ``[T, N]``. Each takes the free label that it covers best."""
    hit = np.zeros((len(IOUS), len(found)), bool)
    if not len(found) or not len(true):
        return hit
    overlaps = pairwise_iou(found.xyxy.astype(np.float64), true.astype(np.float64))
    free = np.ones((len(IOUS), len(true)), bool)
    for n in np.flatnonzero(overlaps.max(1) >= IOUS[0]):
        # From the back: of equal overlaps the last label counts, as in the protocol's own code.
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
            # At a recall counts the highest precision there or beyond.
            precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            steps = np.diff(np.take_along_axis(passed, true, axis=1), axis=1, prepend=0)
            scores[t] = (precision * steps).sum(1) / len(RECALLS)
    return np.where(labels > 0, scores, np.nan)


def _recalls_passed(labels: Ints) -> Ints:
    """How many of the recall points are reached by 0, 1, ... true ones; ``[rows, 1 + most labels]``."""
    table = np.zeros((len(labels), 1 + int(labels.max(initial=0))), np.int64)
    for count in np.unique(labels[labels > 0]):
        reached = np.searchsorted(RECALLS, np.arange(1, count + 1) / count, side="right")
        table[labels == count, 1 : count + 1] = reached
    return table
