"""What a user of ``edgestill run`` sees: objects found, in the right class, and false detections, by source.

Unlike average precision, these counts hold at one threshold: that at which the detector was opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgestill.dataset import Dataset, read_image
from edgestill.dataset_files.image_source import source_of
from edgestill.progress import track
from runtime.detector import Detector
from runtime.metrics.coco import Truth
from runtime.metrics.confusion import confusion

#: Two states whose confusion is dangerous; counted if the data set has both classes.
OPPOSITES = ("red", "green")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Counts over some images.

    Attributes:
        images: Number of images.
        labels: Number of labelled objects.
        found: Labels that a detection of any class overlaps with an IoU of at least 0.5.
        right: Those whose detection has the right class.
        opposite: Red labels detected as green, and green ones as red.
        false: Detections that match no label.
    """

    images: int = 0
    labels: int = 0
    found: int = 0
    right: int = 0
    opposite: int = 0
    false: int = 0

    def __add__(self, other: Found) -> Found:
        return Found(**{name: getattr(self, name) + getattr(other, name) for name in Found.__slots__})


def found_by_source(
    detector: Detector, datasets: Sequence[Dataset], splits: Sequence[str]
) -> dict[str, Found]:
    """Run a detector on some splits and count.

    Args:
        detector: Opened at the thresholds that are to be judged, without ``multi_label``.
        datasets: Data sets with the classes of the detector; splits that one lacks are passed over.
        splits: Names of splits.

    Returns:
        The counts by source (see ``edgestill.dataset_files.image_source``), sorted by name.

    Raises:
        DataError: An image or a label file is broken.
    """
    counts: dict[str, Found] = {}
    work = [(d, path) for d in datasets for split in splits if split in d.splits for path in d.images(split)]
    for dataset, path in track(work, "counting", len(work)):
        image, labels = read_image(path), dataset.labels(path)
        truth = Truth(labels.xyxy_px((image.shape[0], image.shape[1])), labels.class_id)
        matrix = confusion([detector(image)], [truth], len(dataset.classes), conf=0.0)
        source = source_of(path)
        counts[source] = counts.get(source, Found()) + _counts(matrix, dataset.classes)
    return dict(sorted(counts.items()))


def _counts(matrix: NDArray[np.int64], classes: Sequence[str]) -> Found:
    """The counts of one image from its confusion matrix."""
    known = matrix[:-1, :-1]
    opposite = 0
    if set(OPPOSITES) <= set(classes):
        first, second = (classes.index(name) for name in OPPOSITES)
        opposite = int(known[first, second] + known[second, first])
    return Found(
        images=1,
        labels=int(matrix[:-1].sum()),
        found=int(known.sum()),
        right=int(known.trace()),
        opposite=opposite,
        false=int(matrix[-1].sum()),
    )
