"""What a detector makes of each labelled light: its class, or nothing, with the light's size and darkness.

Detections are those of ``edgestill run``: one class a box, at a threshold that is used on the street. A light
counts as seen from an IoU of 0.3 on, less than the 0.5 of average precision: a green box that covers a red
light loosely is a red light seen as green, not a missed one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.safety.darkness import luma, luma_around
from edgestill.boxes import pairwise_iou
from edgestill.dataset import Dataset, read_image, say_remarks
from edgestill.detections import Detections
from edgestill.drawing.palette import named_hues
from edgestill.errors import DataError
from edgestill.progress import progress
from runtime.detector import Detector
from runtime.metrics.coco import Truth
from runtime.metrics.confusion import MISSED, match
from runtime.metrics.evaluate import check_classes, spread

SEEN_IOU = 0.3
RED, GREEN = "red", "green"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lights:
    """The labelled lights of some images, in the order of the images.

    Attributes:
        images: Number of images.
        true: Class of each light; int64 ``[N]``.
        wh_px: Width and height, pixels of the source image; float64 ``[N, 2]``.
        image_luma: Mean luma of its image, 0 to 255; float64 ``[N]``.
        around_luma: Mean luma of its surroundings; float64 ``[N]``.
    """

    images: int
    true: NDArray[np.int64]
    wh_px: NDArray[np.float64]
    image_luma: NDArray[np.float64]
    around_luma: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What one detector made of them.

    Attributes:
        seen: Class of the detection of each light, or ``MISSED``; int64 ``[N]``.
        covered: Whether a detection of each class covers the light that is not another light's; bool
            ``[N, classes]``.
        false: By class, detections that match no light; int64 ``[classes]``.
    """

    seen: NDArray[np.int64]
    covered: NDArray[np.bool_]
    false: NDArray[np.int64]


@dataclass(slots=True)
class _Parts:
    seen: list[NDArray[np.int64]] = field(default_factory=list)
    covered: list[NDArray[np.bool_]] = field(default_factory=list)
    false: list[NDArray[np.int64]] = field(default_factory=list)


def colours_of(classes: Sequence[str]) -> tuple[str | None, ...]:
    """The colour of light that each class stands for, by the words in its name; None for no colour.

    Raises:
        DataError: No class is red, or none is green.
    """
    hues = named_hues(classes)
    missing = [colour for colour in (RED, GREEN) if colour not in hues]
    if missing:
        raise DataError(
            f"no class is {' and none is '.join(missing)} among {', '.join(classes)}",
            hint="--safety is for detectors whose classes are states of lights, such as red and green",
        )
    return hues


def see_lights(
    detectors: Mapping[str, Detector], dataset: Dataset, split: str, *, limit: int | None = None
) -> tuple[Lights, dict[str, Seen]]:
    """Run detectors on a split; each image is read once.

    Args:
        detectors: By name; opened at the thresholds that are to be judged, without ``multi_label``.
        dataset: The images and labels, with the classes of the detectors.
        split: ``train``, ``val`` or ``test``.
        limit: Number of images, spread evenly over the split; None for all.

    Raises:
        DataError: A detector has other classes than the data set, or an image or label is broken.
        UsageError: The data set has no such split, or the limit is not positive.
    """
    for detector in detectors.values():
        check_classes(detector.spec.classes, dataset)
    images = spread(dataset.images(split), limit)
    truths: list[Truth] = []
    lumas: list[tuple[float, NDArray[np.float64]]] = []
    parts = {name: _Parts() for name in detectors}
    with progress(f"safety {split}", len(images)) as advance:
        for path in images:
            image, labels = read_image(path), dataset.labels(path)
            truth = Truth(labels.xyxy_px((image.shape[0], image.shape[1])), labels.class_id)
            grey = luma(image)
            truths.append(truth)
            lumas.append((float(grey.mean()), luma_around(grey, truth.xyxy)))
            for name, detector in detectors.items():
                _add(parts[name], detector(image), truth, len(dataset.classes))
            advance()
    say_remarks(dataset)
    return _lights(truths, lumas), {name: _seen(part) for name, part in parts.items()}


def _add(parts: _Parts, found: Detections, truth: Truth, classes: int) -> None:
    """What the detections of one image make of its lights."""
    matched = match(found, truth, conf=0.0, iou=SEEN_IOU)
    parts.seen.append(np.where(matched == MISSED, MISSED, np.append(found.class_id, MISSED)[matched]))
    covers = pairwise_iou(truth.xyxy, found.xyxy) >= SEEN_IOU
    for light, row in enumerate(matched):
        if row != MISSED:
            covers[np.arange(len(matched)) != light, row] = False
    parts.covered.append(np.stack([covers[:, found.class_id == k].any(1) for k in range(classes)], axis=1))
    false = np.ones(len(found), bool)
    false[matched[matched != MISSED]] = False
    parts.false.append(np.bincount(found.class_id[false], minlength=classes))


def _seen(parts: _Parts) -> Seen:
    return Seen(
        seen=np.concatenate(parts.seen),
        covered=np.concatenate(parts.covered),
        false=np.sum(parts.false, axis=0),
    )


def _lights(truths: Sequence[Truth], lumas: Sequence[tuple[float, NDArray[np.float64]]]) -> Lights:
    return Lights(
        images=len(truths),
        true=np.concatenate([t.class_id for t in truths]),
        wh_px=np.concatenate([(t.xyxy[:, 2:] - t.xyxy[:, :2]).astype(np.float64) for t in truths]),
        image_luma=np.repeat([whole for whole, _ in lumas], [len(t.class_id) for t in truths]),
        around_luma=np.concatenate([around for _, around in lumas]),
    )
