"""The training splits of some data sets, at the scale of deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from distill.data.disk_cache import DiskCache
from distill.data.sample import Sample
from distill.data.scaled_images import ScaledImages
from edgestill.dataset import Dataset, Labels, say_remarks
from edgestill.dataset_files.image_source import source_of
from edgestill.progress import track
from edgestill.spec import ModelSpec


class TrainingImages(Sequence[Sample]):
    """The training splits of some data sets, scaled as the letterbox scales them, without its border.

    Args:
        datasets: With the same classes.
        spec: Says the input size.
        cache_mib: Memory for decoded images.
        disk: Disk cache of decoded images, or None.
        unlabelled: Images without labels; they follow the labelled ones.
        repeat: How often an epoch has the labelled images of a source; once if it is not named.

    Attributes:
        labelled: Number of labelled images, repetitions included.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        spec: ModelSpec,
        *,
        cache_mib: int,
        disk: DiskCache | None = None,
        unlabelled: Sequence[Path] = (),
        repeat: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        found = [
            (dataset, path)
            for dataset in datasets
            for path in dataset.images("train")
            for _ in range(repeat.get(source_of(path), 1))
        ]
        self.labelled = len(found)
        nothing = Labels(np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
        self._labels = _Labels(
            [dataset.labels(path) for dataset, path in track(found, "reading labels", len(found))]
            + [nothing] * len(unlabelled)
        )
        say_remarks(*datasets)
        paths = [*(path for _, path in found), *unlabelled]
        self._images = ScaledImages(paths, spec, name="training", memory_mib=cache_mib, disk=disk)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # no slices: one image each
        image, labels = self._images[index].image_bgr, self._labels[index]
        height, width = image.shape[:2]
        xyxy = np.clip(
            labels.xyxy_px((height, width)), 0, np.array([width, height, width, height], np.float32)
        )
        return Sample(image, labels.class_id, np.asarray(xyxy, np.float32))


class _Labels:
    """The labels of many images in three arrays instead of three objects an image."""

    def __init__(self, labels: Sequence[Labels]) -> None:
        self._starts = np.cumsum([0, *map(len, labels)])
        self._class_id = np.concatenate([one.class_id for one in labels])
        self._cxcywh = np.concatenate([one.cxcywh for one in labels])

    def __getitem__(self, index: int) -> Labels:
        part = slice(*self._starts[index : index + 2])
        return Labels(self._class_id[part], self._cxcywh[part])
