"""Give a file of fewer bits the operating point of its source: a rising map of its scores.

Rounding moves scores more than it changes their order, and a threshold that was chosen for FP32 then finds
more or less than it did. The n-th highest score that the file gives on some images is sent to FP32's n-th
highest on them, so that a threshold finds as many boxes as with FP32. This is the equipercentile method by
which tests of different difficulty are compared (Kolen and Brennan, Test Equating, Scaling, and Linking,
chapter 2). A regression of one score on the other would draw all scores towards their mean. Single ranks are
noisy: the means over bands of ranks are the knots, and between them the map is linear in log-odds, see
``runtime.score_map``.

One map serves all classes. It rises, so the class of a box, what suppression keeps, the K best of a compact
output and average precision are what they were; and rare classes have too few boxes on a few hundred images
for a map of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.dataset import Dataset
from edgestill.detections import Detections
from edgestill.errors import DataError, UsageError
from edgestill.files import sha256_file
from edgestill.spec import ScoreMap
from export.quantize.calibration.images import same_content
from export.verify.compare import Sample, Seen, compare, look
from runtime.detector import open_detector
from runtime.metrics.coco import Truth
from runtime.metrics.confusion import CONF, confusion
from runtime.metrics.evaluate import spread
from runtime.score_map import END, unmapped

IMAGES = 200
LOWEST = 0.05  # score of FP32 from which on boxes are looked at
BAND = 25  # boxes whose ranks make one knot, at least
MOST_BANDS = 12
#: Below it nothing is mapped: an evaluation that begins at 0.001 sees the same boxes with and without a map.
FLOOR = 0.01
IOU = 0.45  # of suppression, as on a device
HINT = "name images that show what is to be detected: --recalibrate DATA.yaml:SPLIT"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Images that a map is fitted on.

    Attributes:
        samples: The images.
        data: The data set.
        split: Of it.
    """

    samples: Sequence[Sample]
    data: str
    split: str


def held_out(
    dataset: Dataset, split: str | None, *, calibrated: Sequence[Path], verified: Sequence[Path]
) -> HeldOut:
    """Images that are neither calibrated nor verified on, by content.

    Args:
        dataset: Where to take them from.
        split: Of it; None for ``val``, or ``train`` where the file is verified on ``val``. Never ``test``.
        calibrated: Images that ranges come from; they are left out.
        verified: Images that the result is judged by; one of them is refused.

    Raises:
        DataError: An image is also verified on, or there are none left.
        UsageError: The split is ``test``, or there is none of that name.
    """
    if split == "test":
        raise UsageError(
            "a map that was fitted to the test split flatters the test", hint="--recalibrate DATA.yaml:val"
        )
    if split is None:
        taken = {path.resolve() for path in verified}
        names = [name for name in ("val", "train") if name in dataset.splits]
        free = [n for n in names if not taken & {path.resolve() for path in dataset.images(n)}]
        split = free[0] if free else "val"
    used = {path.resolve() for path in calibrated}
    paths = spread([p for p in dataset.images(split) if p.resolve() not in used], IMAGES)
    hashes = {path: sha256_file(path) for path in paths}
    if twice := same_content(hashes, [*verified]):
        first, twin = next(iter(twice.items()))
        raise DataError(
            f"{len(twice)} of {len(hashes)} images of {split} are also verified on, "
            f"e.g. {first.name} is {twin.name} of {twin.parent}",
            hint="fit the map on another split than the one of --verify: --recalibrate DATA.yaml:SPLIT",
        )
    twins = same_content(hashes, [*calibrated])
    left = [path for path in paths if path not in twins]
    if not left:
        raise DataError(f"no images of {split} of {dataset.path} are left to fit a map on", hint=HINT)
    return HeldOut(samples=[Sample(path, None) for path in left], data=str(dataset.path), split=split)


class Recalibration:
    """Fits maps of one network's files; what FP32 finds is looked at once."""

    def __init__(self, images: HeldOut, source: Path) -> None:
        self._images, self._source = images, source

    def fit(self, candidate: Path) -> tuple[ScoreMap, dict[str, Any]]:
        """The map for a file, empty if it finds too little to have one; and the record of it.

        Raises:
            DataError: FP32 finds too little on these images.
        """
        true, ours = self._true, self._scores(candidate, "file")
        knots = match(true, ours)
        record = {
            "data": self._images.data,
            "split": self._images.split,
            "images": len(self._images.samples),
            "images_sha256": self._digest,
            "fitted_on": "ONNX Runtime" if candidate.suffix == ".onnx" else "OpenVINO",
            "boxes": {"reference": int((true > CONF).sum()), "file": int((ours > CONF).sum()), "conf": CONF},
            "score_map": [list(pair) for pair in knots],
        }
        return knots, record

    @cached_property
    def _true(self) -> NDArray[np.float64]:
        found = self._scores(self._source, "FP32")
        boxes, images = int((found > LOWEST).sum()), len(self._images.samples)
        if boxes < BAND:
            raise DataError(
                f"FP32 finds {boxes} boxes on {images} images of {self._images.split}: too few to fit a map",
                hint=HINT,
            )
        return found

    @cached_property
    def _digest(self) -> str:
        names = "".join(sha256_file(sample.path) for sample in self._images.samples)
        return hashlib.sha256(names.encode()).hexdigest()

    def _scores(self, path: Path, what: str) -> NDArray[np.float64]:
        with closing(open_detector(path, conf=FLOOR, iou=IOU)) as detector:
            seen = look(detector, self._images.samples, f"scores: {what}")
        return np.concatenate([found.score for found in seen.found]).astype(np.float64)


def match(true: NDArray[np.float64], ours: NDArray[np.float64]) -> ScoreMap:
    """Knots by which both say the same of the boxes of a rank; none where the file finds too few.

    Args:
        true: Scores of what FP32 finds, any order.
        ours: Of what the file finds on the same images, any order.
    """
    count = min(int((true > LOWEST).sum()), len(ours))
    bands = min(MOST_BANDS, count // BAND)
    if not bands:
        return ()
    knots = [(FLOOR, FLOOR)]
    ranked = [np.sort(scores)[-count:] for scores in (ours, true)]
    for both in zip(*(np.array_split(scores, bands) for scores in ranked), strict=True):
        network, told = (round(_mean(band), 6) for band in both)
        if network > knots[-1][0] and told > knots[-1][1]:
            knots.append((network, told))
    return tuple(knots) if len(knots) > 1 else ()


def _mean(scores: NDArray[np.float64]) -> float:
    """The score of the mean log-odds."""
    inside = np.clip(scores, END, 1 - END)
    return float(1 / (1 + np.exp(-np.log(inside / (1 - inside)).mean())))


def effect(
    true: Seen, ours: Seen, samples: Sequence[Sample], classes: Sequence[str], knots: ScoreMap
) -> dict[str, Any]:
    """What the map does on images that it was not fitted on.

    Args:
        true: What FP32 found.
        ours: What the file found, as the runtime reports it with the map.
        samples: The images.
        classes: The model's.
        knots: The map.

    Returns:
        Precision, recall and F1 at the threshold of a device, of FP32, and of the file before and after, by
        the labels or, without, by what FP32 finds above it; and the mean drift of scores.
    """
    before = replace(
        ours, found=tuple(Detections(f.xyxy, unmapped(f.score, knots), f.class_id) for f in ours.found)
    )
    truths = [sample.truth for sample in samples if sample.truth is not None]
    labelled = len(truths) == len(samples) and any(len(truth.class_id) for truth in truths)
    if not labelled:
        truths = [Truth(f.xyxy[f.score >= CONF], f.class_id[f.score >= CONF]) for f in true.found]
    bare = [Sample(sample.path, None) for sample in samples]
    drift = [compare(true, side, bare, classes).score_drift_mean for side in (before, ours)]
    sides = {"reference": true, "before": before, "after": ours}
    return {
        "conf": CONF,
        "truth": "labels" if labelled else f"the reference's boxes above {CONF}",
        **{name: _point(side.found, truths, len(classes)) for name, side in sides.items()},
        "score_drift_mean": dict(zip(("before", "after"), drift, strict=True)),
    }


def _point(found: Sequence[Detections], truths: Sequence[Truth], nc: int) -> dict[str, Any]:
    """Precision, recall and F1 at ``CONF``; None where nothing was found, or nothing is there."""
    counts = confusion(found, truths, nc)
    hits, boxes, labels = int(np.trace(counts[:nc, :nc])), int(counts[:, :nc].sum()), int(counts[:nc].sum())
    precision, recall = hits / boxes if boxes else None, hits / labels if labels else None
    return {
        "boxes": boxes,
        "precision": precision,
        "recall": recall,
        "f1": 2 * hits / (boxes + labels) if boxes + labels else None,
    }
