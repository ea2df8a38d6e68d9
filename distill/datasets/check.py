"""Checks of a data set: broken files, invalid labels, duplicates across splits, missing classes.

The same image in two splits is an error if all pixels are equal, and a warning if it is a near duplicate.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from distill.datasets.check_warnings import folder_warnings, image_warnings, size_warnings, yaml_warnings
from distill.datasets.checked_image import CheckedImage, DatasetIssue, check_image
from distill.datasets.near_duplicates import BITS, NearDuplicates, near_duplicates
from edgestill.dataset import Dataset, label_path
from edgestill.dataset_files.image_folder import files_under, kind_of
from edgestill.errors import DataError
from edgestill.progress import progress

LISTED = 50  # issues of one kind that are listed; all are counted
RARE = 0.1  # a class below this share of the most frequent one is rare
NO_LABELS = frozenset({"classes.txt"})  # LabelImg writes the class names beside the labels
THREADS = 4  # decoding and hashing release the GIL


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """The contents of a split.

    Attributes:
        images: All images, including broken ones.
        without_boxes: Readable images whose label file is missing or empty.
        without_label_file: Images without a label file.
        boxes: Boxes by class name.
        sizes: Images by ``WIDTHxHEIGHT``.
    """

    images: int
    without_boxes: int
    without_label_file: int
    boxes: dict[str, int]
    sizes: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """The contents of a data set and the errors in it.

    Attributes:
        data_yaml: Its description.
        classes: Class names.
        splits: By name.
        box_side_px: Square root of box areas, px: min, p5, median, p95, max; None without boxes.
        near_duplicates: Near duplicates across splits; images with equal pixels are errors.
        error_counts: Errors by kind.
        errors: The errors, at most ``LISTED`` of a kind.
        warnings: Conditions that are allowed but probably not intended.
    """

    data_yaml: Path
    classes: tuple[str, ...]
    splits: dict[str, SplitReport]
    box_side_px: dict[str, float] | None
    near_duplicates: NearDuplicates
    error_counts: dict[str, int]
    errors: tuple[DatasetIssue, ...]
    warnings: tuple[str, ...]


def check_dataset(path: Path) -> DataReport:
    """Read every image and every label of a data set.

    Raises:
        DataError: ``data.yaml`` itself cannot be used. All other errors are in the report.
    """
    dataset = Dataset.open(path)
    errors: list[DatasetIssue] = []
    found: dict[str, list[CheckedImage]] = {}
    images = {}
    for split in dataset.splits:
        try:
            images[split] = dataset.images(split)
        except DataError as error:
            errors.append(DatasetIssue(kind="split", where=path, what=error.what))
            images[split] = []
        errors += _orphans(dataset, split, images[split])
    total = sum(map(len, images.values()))
    with progress("check", total) as advance, ThreadPoolExecutor(THREADS) as pool:
        for split, paths in images.items():
            found[split] = []
            for one in pool.map(lambda p: check_image(dataset, p), paths):
                found[split].append(one)
                errors += one.issues
                advance()
    errors += _duplicates_across_splits(found)
    duplicates = _near_duplicates(found)
    sides = [side for checked in found.values() for p in checked for side in p.sides]
    splits = {split: _summary(dataset, checked) for split, checked in found.items()}
    return DataReport(
        data_yaml=path,
        classes=dataset.classes,
        splits=splits,
        box_side_px=_percentiles(sides),
        near_duplicates=duplicates,
        error_counts=dict(Counter(e.kind for e in errors)),
        errors=tuple(_listed(errors)),
        warnings=(
            *yaml_warnings(dataset),
            *folder_warnings(dataset),
            *_class_warnings(dataset, splits),
            *image_warnings(found),
            *size_warnings(found),
            *_duplicate_warnings(found),
            *_near_duplicate_warnings(duplicates, splits),
        ),
    )


def _orphans(dataset: Dataset, split: str, images: Sequence[Path]) -> list[DatasetIssue]:
    """Label files without an image."""
    wanted = {label_path(image) for image in images}
    issues = []
    for folder in dataset.splits[split]:
        labels = label_path(folder / "any.jpg").parent
        if labels == folder or not kind_of(labels) == kind_of(folder) == "folder":
            continue
        issues += [
            DatasetIssue(kind="orphan", where=label, what=f"{label} belongs to no image of the {split} split")
            for label in sorted(files_under(labels))
            if label.suffix.lower() == ".txt" and label not in wanted and label.name not in NO_LABELS
        ]
    return issues


def _duplicates_across_splits(found: dict[str, list[CheckedImage]]) -> list[DatasetIssue]:
    files = _files_by_digest(found)
    issues = []
    for copies in files.values():
        first_split, first = copies[0]
        issues += [
            DatasetIssue(
                kind="duplicate",
                where=path,
                what=f"{path} ({split}) has the same pixels as {first} ({first_split})",
            )
            for split, path in copies[1:]
            if split != first_split
        ]
    return issues


def _duplicate_warnings(found: dict[str, list[CheckedImage]]) -> list[str]:
    """A warning for each split that contains an image more than once."""
    extra: Counter[str] = Counter()
    for copies in _files_by_digest(found).values():
        extra.update({split: n - 1 for split, n in Counter(split for split, _ in copies).items() if n > 1})
    return [
        f"{split} holds {n} image{'' if n == 1 else 's'} more than once" for split, n in sorted(extra.items())
    ]


def _near_duplicates(found: dict[str, list[CheckedImage]]) -> NearDuplicates:
    """Near duplicates across splits, without exact ones: these are errors already."""
    equal = {
        path for copies in _files_by_digest(found).values() if len(dict(copies)) > 1 for _, path in copies
    }
    return near_duplicates(
        {
            split: [(p.path, p.phash) for p in checked if p.phash is not None and p.path not in equal]
            for split, checked in found.items()
        }
    )


def _near_duplicate_warnings(duplicates: NearDuplicates, splits: dict[str, SplitReport]) -> list[str]:
    """For each pair of splits, the number of near duplicates in the second, and the closest pair."""
    warnings = []
    for one, other, images in duplicates.twins:
        bits, here, there = next((p.bits, *p.paths) for p in duplicates.pairs if p.splits == (one, other))
        warnings.append(
            f"{images} of {splits[other].images} images of {other} are near duplicates of one in {one}, "
            f"e.g. {there} of {here} ({bits} of {BITS} bits differ): split by sequence, not by frame"
        )
    return warnings


def _files_by_digest(found: dict[str, list[CheckedImage]]) -> dict[str, list[tuple[str, Path]]]:
    files: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for split, checked in found.items():
        for one in checked:
            if one.digest:
                files[one.digest].append((split, one.path))
    return {digest: copies for digest, copies in files.items() if len(copies) > 1}


def _summary(dataset: Dataset, checked: Sequence[CheckedImage]) -> SplitReport:
    counts = np.zeros(len(dataset.classes), np.int64)
    for one in checked:
        if one.labels is not None:
            counts += np.bincount(one.labels.class_id, minlength=len(counts))
    return SplitReport(
        images=len(checked),
        without_boxes=sum(1 for p in checked if p.labels is not None and p.size and not len(p.labels)),
        without_label_file=sum(1 for p in checked if not p.has_label_file),
        boxes={name: int(n) for name, n in zip(dataset.classes, counts, strict=True)},
        sizes=dict(Counter(p.size for p in checked if p.size).most_common()),
    )


def _class_warnings(dataset: Dataset, splits: dict[str, SplitReport]) -> list[str]:
    warnings = []
    for split, report in splits.items():
        most = max(report.boxes.values(), default=0)
        if report.images and not most:
            warnings.append(f"{split} has no boxes at all: are the labels beside the images folder?")
            continue
        for name in dataset.classes:
            count = report.boxes[name]
            if report.images and count == 0:
                warnings.append(f"{split} has no {name!r}: its accuracy there cannot be learnt or measured")
            elif count < RARE * most:
                warnings.append(f"{split} has {count} {name!r} against {most} of the most frequent class")
    warnings += [f"there is no {split} split" for split in ("train", "val", "test") if split not in splits]
    return warnings


def _percentiles(sides: Sequence[float]) -> dict[str, float] | None:
    if not sides:
        return None
    values = np.percentile(sides, [0, 5, 50, 95, 100])
    return dict(zip(("min", "p5", "median", "p95", "max"), (round(float(v), 1) for v in values), strict=True))


def _listed(errors: Iterable[DatasetIssue]) -> list[DatasetIssue]:
    by_kind: dict[str, list[DatasetIssue]] = defaultdict(list)
    for error in errors:
        by_kind[error.kind].append(error)
    return [e for issues in by_kind.values() for e in islice(issues, LISTED)]
