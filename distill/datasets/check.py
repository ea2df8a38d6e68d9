"""Is a data set fit to train on? Broken files, bad labels, pictures in two splits, missing classes.

A picture in two splits is an error if all pixels are equal, and a warning if they only look alike.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from distill.datasets.near_duplicates import BITS, Hash, NearDuplicates, near_duplicates, perceptual_hash
from edgestill.dataset import Dataset, Labels, label_path, read_image
from edgestill.errors import DataError
from edgestill.progress import progress

LISTED = 50  # problems of one kind that are named; all are counted
RARE = 0.1  # a class below this share of the most frequent one is rare
THREADS = 4  # decoding and hashing leave Python's lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that must be mended before training.

    Attributes:
        kind: ``image``, ``label``, ``orphan``, ``duplicate`` or ``split``.
        where: The file.
        what: What is wrong with it.
    """

    kind: str
    where: Path
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """What a split holds.

    Attributes:
        images: Pictures, broken ones counted.
        without_boxes: Readable pictures whose label file is missing or empty.
        boxes: Boxes by class name.
        sizes: Pictures by ``WIDTHxHEIGHT``.
    """

    images: int
    without_boxes: int
    boxes: dict[str, int]
    sizes: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """What a data set holds and what is wrong with it.

    Attributes:
        data_yaml: Its description.
        classes: Class names.
        splits: By name.
        box_side_px: Square root of box areas, px: min, p5, median, p95, max; None without boxes.
        near_duplicates: Pictures of different splits that look alike; those of equal pixels are errors.
        error_counts: Errors by kind.
        errors: The errors, at most ``LISTED`` of a kind.
        warnings: What is allowed and probably not wanted.
    """

    data_yaml: Path
    classes: tuple[str, ...]
    splits: dict[str, SplitReport]
    box_side_px: dict[str, float] | None
    near_duplicates: NearDuplicates
    error_counts: dict[str, int]
    errors: tuple[Problem, ...]
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Picture:
    """What was found out about one picture."""

    path: Path
    digest: str = ""
    look: Hash | None = None
    size: str = ""
    labels: Labels | None = None
    sides: list[float] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def check_dataset(path: Path) -> DataReport:
    """Read every picture and every label of a data set.

    Raises:
        DataError: ``data.yaml`` itself cannot be used. Whatever is wrong behind it is in the report.
    """
    dataset = Dataset.open(path)
    errors: list[Problem] = []
    found: dict[str, list[_Picture]] = {}
    images = {}
    for split in dataset.splits:
        try:
            images[split] = dataset.images(split)
        except DataError as error:
            errors.append(Problem(kind="split", where=path, what=error.what))
            images[split] = []
        errors += _orphans(dataset, split, images[split])
    total = sum(map(len, images.values()))
    with progress("check", total) as advance, ThreadPoolExecutor(THREADS) as pool:
        for split, paths in images.items():
            found[split] = []
            for picture in pool.map(lambda p: _look(dataset, p), paths):
                found[split].append(picture)
                errors += picture.problems
                advance()
    errors += _in_two_splits(found)
    alike = _alike(found)
    sides = [side for pictures in found.values() for p in pictures for side in p.sides]
    splits = {split: _summary(dataset, pictures) for split, pictures in found.items()}
    return DataReport(
        data_yaml=path,
        classes=dataset.classes,
        splits=splits,
        box_side_px=_spread(sides),
        near_duplicates=alike,
        error_counts=dict(Counter(e.kind for e in errors)),
        errors=tuple(_listed(errors)),
        warnings=(*_class_warnings(dataset, splits), *_repeats(found), *_alike_warnings(alike, splits)),
    )


def _look(dataset: Dataset, path: Path) -> _Picture:
    picture = _Picture(path)
    try:
        image = read_image(path)
        picture.size = f"{image.shape[1]}x{image.shape[0]}"
        # Of the pixels: the same picture saved with other metadata is still the same picture.
        picture.digest = hashlib.blake2b(
            image.tobytes(), digest_size=16, key=picture.size.encode()
        ).hexdigest()
        picture.look = perceptual_hash(image)
    except DataError as error:
        picture.problems.append(Problem(kind="image", where=path, what=error.what))
    try:
        picture.labels = dataset.labels(path)
    except DataError as error:
        picture.problems.append(Problem(kind="label", where=label_path(path), what=error.what))
    if picture.labels is not None and picture.size:
        width, height = map(int, picture.size.split("x"))
        area = picture.labels.cxcywh[:, 2] * width * picture.labels.cxcywh[:, 3] * height
        picture.sides = [float(side) for side in np.sqrt(area)]
    return picture


def _orphans(dataset: Dataset, split: str, images: Sequence[Path]) -> list[Problem]:
    """Label files whose picture is gone."""
    wanted = {label_path(image) for image in images}
    problems = []
    for folder in dataset.splits[split]:
        labels = label_path(folder / "any.jpg").parent
        if labels == folder or not labels.is_dir():
            continue
        problems += [
            Problem(kind="orphan", where=label, what=f"{label} belongs to no image of the {split} split")
            for label in sorted(labels.rglob("*.txt"))
            if label not in wanted
        ]
    return problems


def _in_two_splits(found: dict[str, list[_Picture]]) -> list[Problem]:
    places = _places(found)
    problems = []
    for same in places.values():
        first_split, first = same[0]
        problems += [
            Problem(
                kind="duplicate",
                where=path,
                what=f"{path} ({split}) shows the same as {first} ({first_split})",
            )
            for split, path in same[1:]
            if split != first_split
        ]
    return problems


def _repeats(found: dict[str, list[_Picture]]) -> list[str]:
    """A warning for each split that holds the same picture more than once."""
    extra: Counter[str] = Counter()
    for same in _places(found).values():
        extra.update({split: n - 1 for split, n in Counter(split for split, _ in same).items() if n > 1})
    return [f"{split} holds {n} pictures more than once" for split, n in sorted(extra.items())]


def _alike(found: dict[str, list[_Picture]]) -> NearDuplicates:
    """What looks alike across splits, without what is equal to the pixel: that is an error already."""
    equal = {path for same in _places(found).values() if len(dict(same)) > 1 for _, path in same}
    return near_duplicates(
        {
            split: [(p.path, p.look) for p in pictures if p.look is not None and p.path not in equal]
            for split, pictures in found.items()
        }
    )


def _alike_warnings(alike: NearDuplicates, splits: dict[str, SplitReport]) -> list[str]:
    """For each two splits how many pictures of the second have a twin in the first, and the nearest pair."""
    warnings = []
    for one, other, images in alike.twins:
        bits, here, there = next((p.bits, *p.paths) for p in alike.pairs if p.splits == (one, other))
        warnings.append(
            f"{images} of {splits[other].images} pictures of {other} look like one of {one}, e.g. {there} "
            f"like {here} ({bits} of {BITS} bits differ): split by sequence, not by frame"
        )
    return warnings


def _places(found: dict[str, list[_Picture]]) -> dict[str, list[tuple[str, Path]]]:
    places: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for split, pictures in found.items():
        for picture in pictures:
            if picture.digest:
                places[picture.digest].append((split, picture.path))
    return {digest: same for digest, same in places.items() if len(same) > 1}


def _summary(dataset: Dataset, pictures: Sequence[_Picture]) -> SplitReport:
    counts = np.zeros(len(dataset.classes), np.int64)
    for picture in pictures:
        if picture.labels is not None:
            counts += np.bincount(picture.labels.class_id, minlength=len(counts))
    return SplitReport(
        images=len(pictures),
        without_boxes=sum(1 for p in pictures if p.labels is not None and p.size and not len(p.labels)),
        boxes={name: int(n) for name, n in zip(dataset.classes, counts, strict=True)},
        sizes=dict(Counter(p.size for p in pictures if p.size).most_common()),
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


def _spread(sides: Sequence[float]) -> dict[str, float] | None:
    if not sides:
        return None
    values = np.percentile(sides, [0, 5, 50, 95, 100])
    return dict(zip(("min", "p5", "median", "p95", "max"), (round(float(v), 1) for v in values), strict=True))


def _listed(errors: Iterable[Problem]) -> list[Problem]:
    by_kind: dict[str, list[Problem]] = defaultdict(list)
    for error in errors:
        by_kind[error.kind].append(error)
    return [e for problems in by_kind.values() for e in islice(problems, LISTED)]
