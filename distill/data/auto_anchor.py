"""Anchors fitted to the boxes of a data set by the method of the original YOLOv5. No torch.

The agreement r of a box and an anchor is the smallest of w / W, W / w, h / H and H / h; in training the
anchor matches the box if r > 1 / anchor_t. Two measures follow: the best possible recall (BPR), which is the
share of boxes that some anchor matches, and the fitness, the mean over all boxes of the best r, or 0 for a
box without a match. Anchors are kept if their BPR is above 0.98. Otherwise k-means over the boxes gives new
ones, which 1000 generations of random mutation improve.

Source: utils/autoanchor.py of https://github.com/ultralytics/yolov5, tag v7.0 (method and constants only).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from distill.data.image_size import header_hw
from edgestill.dataset import Dataset, read_image
from edgestill.errors import DataError
from edgestill.progress import say, track
from runtime.letterbox import Letterbox

if TYPE_CHECKING:
    from distill.recipe import Recipe

Sides = NDArray[np.float64]
AnchorsPx = tuple[tuple[tuple[float, float], ...], ...]

GOOD_BPR = 0.98
JITTER = (0.9, 1.1)  # scale of an image, as augmentation also varies it
LEAST_PX = 2.0  # of an anchor's side; boxes that are smaller on both sides are not used to fit anchors
TINY_PX = 3.0  # boxes with a side below this are counted for the report
GENERATIONS = 1000
CHANGED = 0.9  # probability that a side of an anchor mutates in a generation
SPREAD = 0.1  # standard deviation of a mutation, times a random number for the whole generation
CLIP = (0.3, 3.0)  # factor of a mutation
RESTARTS = 30  # of k-means; the best is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorFit:
    """How well anchors fit boxes.

    Attributes:
        bpr: Best possible recall: share of boxes that some anchor matches.
        fitness: Mean agreement with the best anchor, 0 for a box without a match.
        per_box: Mean number of matching anchors of a box.
    """

    bpr: float
    fitness: float
    per_box: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorReport:
    """The result of ``check_anchors``. Anchors are widths and heights in input pixels, by level.

    Attributes:
        boxes: Boxes of the training split.
        tiny: Those with a side below 3 input pixels.
        given_px: The anchors that were checked.
        given: Their fit.
        proposed_px: New anchors, if requested or if the given ones match too few boxes.
        proposed: Their fit.
        anchors_px: Those to train with: the proposed ones if the given ones match too few boxes and these
            match more, else the given ones.
    """

    boxes: int
    tiny: int
    given_px: AnchorsPx
    given: AnchorFit
    proposed_px: AnchorsPx | None = None
    proposed: AnchorFit | None = None
    anchors_px: AnchorsPx


def with_anchors(recipe: Recipe, datasets: Sequence[Dataset]) -> Recipe:
    """The recipe with anchors fitted to its data if ``student.auto_anchor`` is set.

    Raises:
        DataError: The data contain too few boxes, or a broken image or label.
    """
    if not recipe.student.auto_anchor:
        return recipe
    size = recipe.tiling.stretched(recipe.input_hw)
    sides = box_sides(datasets, size, recipe.seed)
    report = check_anchors(sides, recipe.student.anchors_px, recipe.loss.anchor_t, recipe.seed)
    say(summary_line(report))
    return replace(recipe, student=replace(recipe.student, anchors_px=report.anchors_px))


def summary_line(report: AnchorReport) -> str:
    """One line for the log."""
    given = f"anchors: best possible recall {report.given.bpr:.4f} over {report.boxes} boxes"
    new = "" if report.proposed is None else f", of the proposed ones {report.proposed.bpr:.4f}"
    if report.anchors_px == report.given_px:
        return f"{given}{new}: the given ones are kept"
    anchors = ", ".join(f"{w:g} x {h:g}" for level in report.anchors_px for w, h in level)
    return f"{given}{new}: replaced by {anchors}"


def box_sides(datasets: Sequence[Dataset], input_hw: tuple[int, int], seed: int) -> Sides:
    """Widths and heights of all training boxes at the scale of the letterbox, slightly jittered by image.

    Args:
        datasets: Only their ``train`` splits are used.
        input_hw: What a whole frame is letterboxed to, pixels.
        seed: Of the jitter.

    Returns:
        float64 ``[N, 2]``, input pixels.

    Raises:
        DataError: An image or a label file is broken.
    """
    paths = [(dataset, path) for dataset in datasets for path in dataset.images("train")]
    jitter = np.random.default_rng(seed).uniform(*JITTER, len(paths))
    found = [np.zeros((0, 2))]
    for (dataset, path), factor in zip(track(paths, "measuring boxes", len(paths)), jitter, strict=True):
        labels = dataset.labels(path)
        if len(labels):
            hw = _image_hw(path)
            scale = Letterbox.fit(hw, input_hw).scale * factor
            found.append(labels.cxcywh[:, 2:] * np.array([hw[1], hw[0]]) * scale)
    return np.concatenate(found)


def check_anchors(
    sides: Sides, anchors_px: AnchorsPx, anchor_t: float, seed: int, *, always: bool = False
) -> AnchorReport:
    """Check whether anchors fit boxes, and propose others if not.

    Args:
        sides: Widths and heights of the boxes, input pixels; ``[N, 2]``.
        anchors_px: The anchors, by level.
        anchor_t: An anchor matches a box whose sides differ by less than this factor.
        seed: Of k-means and of the mutations.
        always: Whether others are proposed even if the given ones fit. Those are kept nevertheless.

    Raises:
        DataError: There are fewer boxes than anchors and others are to be proposed.
    """
    flat = np.array([pair for level in anchors_px for pair in level], np.float64)
    given = fit(sides, flat, anchor_t) if len(sides) else AnchorFit(bpr=0.0, fitness=0.0, per_box=0.0)
    tiny = int(np.count_nonzero((sides < TINY_PX).any(axis=1)))
    report = AnchorReport(
        boxes=len(sides), tiny=tiny, given_px=anchors_px, given=given, anchors_px=anchors_px
    )
    if given.bpr > GOOD_BPR and not always:
        return report
    found = propose(sides, len(flat), anchor_t, seed)
    pairs = iter([(float(w), float(h)) for w, h in found])
    proposed_px = tuple(tuple(next(pairs) for _ in level) for level in anchors_px)
    proposed = fit(sides, found, anchor_t)
    replaces = given.bpr <= GOOD_BPR and proposed.bpr > given.bpr
    return replace(
        report,
        proposed_px=proposed_px,
        proposed=proposed,
        anchors_px=proposed_px if replaces else anchors_px,
    )


def fit(sides: Sides, anchors: Sides, anchor_t: float) -> AnchorFit:
    """How well anchors ``[K, 2]`` fit boxes ``[N, 2]``, N above 0."""
    agreement = _agreement(sides, anchors)
    best, matches = agreement.max(axis=1), agreement > 1 / anchor_t
    return AnchorFit(
        bpr=float((best > 1 / anchor_t).mean()),
        fitness=_fitness(best, anchor_t),
        per_box=float(matches.sum(axis=1).mean()),
    )


def propose(sides: Sides, count: int, anchor_t: float, seed: int) -> Sides:
    """Anchors for boxes: k-means, then mutations that raise the fitness.

    Args:
        sides: Widths and heights, input pixels; ``[N, 2]``.
        count: Number of anchors.
        anchor_t: An anchor matches a box whose sides differ by less than this factor.
        seed: The same one gives the same anchors.

    Returns:
        ``[count, 2]`` by area, in tenths of a pixel.

    Raises:
        DataError: There are fewer boxes than anchors.
    """
    shaping = sides[(sides >= LEAST_PX).any(axis=1)]
    if len(shaping) < count:
        raise DataError(
            f"{len(shaping)} boxes of 2 input pixels or more are too few to fit {count} anchors",
            hint="add labelled images, a larger input_hw or tiles, or leave student.auto_anchor out",
        )
    rng = np.random.default_rng(seed)
    anchors = _evolve(shaping, _k_means(shaping, count, rng), anchor_t, rng)
    return np.asarray(np.round(anchors[np.argsort(anchors.prod(axis=1))], 1), np.float64)


def _k_means(sides: Sides, count: int, rng: np.random.Generator) -> Sides:
    """Cluster centres ``[count, 2]``, both sides scaled to the same spread."""
    spread = np.maximum(sides.std(axis=0), 1e-6)
    cv2.setRNGSeed(int(rng.integers(2**31)))
    stop = (cv2.TERM_CRITERIA_MAX_ITER + cv2.TERM_CRITERIA_EPS, 100, 1e-4)
    scaled = (sides / spread).astype(np.float32)
    _, _, centres = cv2.kmeans(scaled, count, None, stop, RESTARTS, cv2.KMEANS_PP_CENTERS)
    return np.asarray(np.maximum(centres * spread, LEAST_PX), np.float64)


def _evolve(sides: Sides, anchors: Sides, anchor_t: float, rng: np.random.Generator) -> Sides:
    """Mutate the anchors, and keep every mutation that raises the fitness."""
    fitness = _fitness(_agreement(sides, anchors).max(axis=1), anchor_t)
    for _ in range(GENERATIONS):
        changes = (rng.random(anchors.shape) < CHANGED) * rng.normal(size=anchors.shape)
        factors = np.clip(1 + SPREAD * rng.random() * changes, *CLIP)
        changed = np.maximum(anchors * factors, LEAST_PX)
        now = _fitness(_agreement(sides, changed).max(axis=1), anchor_t)
        if now > fitness:
            anchors, fitness = changed, now
    return anchors


def _agreement(sides: Sides, anchors: Sides) -> Sides:
    """The agreement r of each box and anchor, ``[N, K]``."""
    ratio = sides[:, None] / anchors[None]
    return np.asarray(np.minimum(ratio, 1 / ratio).min(axis=2))


def _fitness(best: NDArray[np.float64], anchor_t: float) -> float:
    return float((best * (best > 1 / anchor_t)).mean())


def _image_hw(path: Path) -> tuple[int, int]:
    """Height and width of an image as it is decoded, from its file header if possible."""
    try:
        return header_hw(path)
    except OSError:  # unknown to Pillow; OpenCV may read it
        height, width = read_image(path).shape[:2]
        return height, width
