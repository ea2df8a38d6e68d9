"""Training batches: images at deployment scale, samples prefetched by threads.

The content of a batch is a pure function of the seed, the epoch and its position, independent of threads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.data.augment import Augment, LateAugment, compose, generator
from distill.data.bounded_map import bounded_map
from distill.data.disk_cache import DiskCache, default_folder
from distill.data.sample import Sample
from distill.recipe import Recipe
from edgestill.boxes import xyxy_to_cxcywh
from edgestill.dataset import Dataset, images_under
from edgestill.dataset_files.image_source import SourceFilter, source_of
from edgestill.errors import DataError, UsageError
from edgestill.files import resolved
from edgestill.spec import ModelSpec

PREFETCH_BATCHES = 3
NEVER = LateAugment()
ORDER = 0xFFFFFFFF  # sample index whose generator orders an epoch; no data set is that long


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The input of one training step.

    Attributes:
        images: uint8 ``[B, 3, H, W]`` in the spec's channel order, channels last in memory.
        targets: image, class, cx, cy, w, h, normalised to the sample; float32 ``[n, 6]``.
        labelled: Which images have labels; bool ``[B]``, None for all.
    """

    images: Tensor
    targets: Tensor
    labelled: Tensor | None = None


def open_datasets(paths: Sequence[Path], leave_out: Collection[str] = ()) -> list[Dataset]:
    """Open data sets that are trained on together.

    Args:
        paths: The ``data.yaml`` files.
        leave_out: Sources whose images are left out of all splits.

    Raises:
        DataError: One cannot be read, or they name different classes.
        UsageError: No image is of a source that is left out, or all training images are.
    """
    datasets = [Dataset.open(path) for path in paths]
    for other in datasets[1:]:
        if other.classes != datasets[0].classes:
            raise DataError(
                f"{other.path} has the classes {', '.join(other.classes)}; "
                f"{datasets[0].path} has {', '.join(datasets[0].classes)}",
                hint="data sets that are trained on together name the same classes in the same order",
            )
    if leave_out:
        check_sources(datasets, leave_out)
        kept = SourceFilter(leave_out=frozenset(leave_out))
        datasets = [dataset.of_sources(kept) for dataset in datasets]
    return datasets


def check_sources(datasets: Sequence[Dataset], names: Collection[str]) -> None:
    """Raise UsageError for a source that has no image in any split, or if no other has a training image."""
    found = {
        split: {source_of(path) for data in datasets if data.is_there(split) for path in data.images(split)}
        for split in ("train", *(split for data in datasets for split in data.splits))
    }
    known = set().union(*found.values())
    for name in names:
        if name not in known:
            raise UsageError(
                f"no image is of the source {name}",
                hint=f"the file name before the first _; there are {', '.join(sorted(known - {''}))}",
            )
    if found["train"] <= set(names):
        raise UsageError(
            f"without {', '.join(names)} no training image is left", hint="leave out fewer sources"
        )


def open_disk_cache(recipe: Recipe) -> DiskCache | None:
    """The disk cache of a recipe, or None."""
    if not recipe.disk_cache_mib:
        return None
    folder = Path(recipe.disk_cache).expanduser() if recipe.disk_cache else default_folder()
    return DiskCache(folder, recipe.disk_cache_mib)


def find_unlabelled(folders: Sequence[Path], datasets: Sequence[Dataset]) -> list[Path]:
    """The images of some folders, on which the student is trained by its teacher alone.

    Raises:
        DataError: A folder is missing or holds no image, or an image belongs to a split of the data sets.
    """
    hint = "unlabelled names folders of images that no split of the data sets holds"
    taken = {
        resolved(path): f"the {split} split of {dataset.path}"
        for dataset in (datasets if folders else ())
        for split in dataset.splits
        for path in dataset.images(split)
    }
    found: list[Path] = []
    for folder in folders:
        inside = images_under(folder)
        if not inside:
            raise DataError(f"{folder} is not a folder with images", hint=hint)
        for path in inside:
            if resolved(path) in taken:
                raise DataError(f"{path} belongs to {taken[resolved(path)]}", hint=hint)
        found += datasets[0].sources(inside)
    return found


class Batches:
    """Samples of an epoch in batches, prefetched by a pool of threads. Use it as a context manager.

    The last, incomplete batch of an epoch is left out (the order differs from epoch to epoch), unless it is
    the only one. Of several processes each makes its part of every batch: parts of one length, whose images
    in the order of the processes are the batch that one process would make.

    Args:
        images: Source of the samples.
        spec: Contract of the network at the size of the samples.
        augment: Augmentation parameters.
        late: Those of the last epochs.
        batch: Images a step, of all processes together.
        seed: Of order and augmentation.
        threads: Number of prefetching threads.
        share: Number of this process, counted from 0, and how many there are.
        labelled: How many of the images are labelled, those at the front; None for all. The others are
            spread evenly over an epoch, and no mosaic or blend mixes the two.

    Attributes:
        batch: Images a step; fewer than requested if there are not enough images.

    Raises:
        UsageError: A batch cannot be divided among the processes.
    """

    def __init__(
        self,
        images: Sequence[Sample],
        spec: ModelSpec,
        augment: Augment,
        *,
        batch: int,
        seed: int,
        threads: int,
        share: tuple[int, int] = (0, 1),
        labelled: int | None = None,
        late: LateAugment = NEVER,
    ) -> None:
        self._images = images
        self._labelled = len(images) if labelled is None else labelled
        self._spec = spec
        self._augment = augment
        self._late = late
        self._seed = seed
        self._part, parts = share
        if batch % parts:
            raise UsageError(
                f"batch = {batch} images for {parts} processes",
                hint=f"batch counts the images of all processes together: a multiple of {parts}",
            )
        self._own = min(batch, len(images)) // parts
        if not self._own:
            raise UsageError(
                f"{len(images)} training images for {parts} processes", hint="train in one process"
            )
        self.batch = self._own * parts
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="augment")
        self._cv2_threads = 0

    def __enter__(self) -> Batches:
        self._cv2_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # the samples are already made in parallel
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(self._cv2_threads)

    def __len__(self) -> int:
        return len(self._images) // self.batch

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from position ``start`` on.

        Args:
            epoch: Counted from 0.
            start: Batches that an interrupted run has finished.
        """
        whole = self._order(epoch)[: len(self) * self.batch].reshape(len(self), -1, self._own)
        own = whole[start:, self._part]
        wanted = own.ravel().tolist()
        samples = bounded_map(self._pool, partial(self._sample, epoch), wanted, PREFETCH_BATCHES * self._own)
        for indices in own:
            batch = collate(list(islice(samples, self._own)))
            known = indices < self._labelled
            yield batch if known.all() else replace(batch, labelled=torch.from_numpy(known))

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Indices of the images of an epoch in order; int64 ``[images]``."""
        rng = generator(self._seed, epoch, ORDER)
        count, unlabelled = len(self._images), len(self._images) - self._labelled
        order = np.empty(count, np.int64)
        # One after every count / unlabelled images, so that every batch has its share of both.
        turns = np.diff(np.arange(count + 1) * unlabelled // count) > 0
        order[~turns] = rng.permutation(self._labelled)
        order[turns] = self._labelled + rng.permutation(unlabelled)
        return order

    def _sample(self, epoch: int, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Image in the spec's channel order ``[h, w, 3]``, and rows class, cx, cy, w, h, normalised."""
        rng = generator(self._seed, epoch, index)
        hw, pad = self._spec.input_hw, self._spec.pad_value
        ends = (0, self._labelled, len(self._images))
        among = range(*(ends[:2] if index < self._labelled else ends[1:]))
        augment = self._late if 0 < self._late.at <= epoch else self._augment
        sample = compose(self._images, index, hw, augment, rng=rng, pad=pad, among=among)
        rgb = self._spec.pixel_order == "rgb"
        image = cv2.cvtColor(sample.image_bgr, cv2.COLOR_BGR2RGB) if rgb else sample.image_bgr
        boxes = xyxy_to_cxcywh(sample.xyxy) / np.array([hw[1], hw[0], hw[1], hw[0]], np.float32)
        rows = np.concatenate((sample.class_id[:, None].astype(np.float32), boxes), axis=1)
        return np.asarray(image, np.uint8), np.asarray(rows, np.float32)


def collate(samples: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32]]]) -> Batch:
    """Stack images ``[h, w, 3]`` and number the target rows by image."""
    images = torch.from_numpy(np.stack([image for image, _ in samples]))
    rows = [np.insert(rows, 0, position, axis=1) for position, (_, rows) in enumerate(samples)]
    targets = torch.from_numpy(np.concatenate(rows)) if rows else torch.zeros(0, 6)
    # The stack is [B, h, w, 3]: channels last in memory already, so only the view changes.
    return Batch(images.permute(0, 3, 1, 2), targets)
