"""The interface of a format's reader: images with their objects, and what was skipped and why."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

LISTED = 20  # skipped items that are listed; all are counted
SHOWN = 80  # characters of a broken label

T = TypeVar("T")
R = TypeVar("R")
Decoder = Callable[[Path], NDArray[np.uint8]]


class UnusableError(Exception):
    """An image or an object cannot be converted.

    Args:
        reason: Why. Equal texts are counted together.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Annotation:
    """One labelled object.

    Attributes:
        tags: Attributes of the source by name; the class map selects by them.
        xyxy: Corners in pixels of the image, as in the source; they may lie outside the image.
    """

    tags: Mapping[str, str]
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image and its labels.

    Attributes:
        path: The file.
        name: Its name in the data set, without suffix. The part before the first ``_`` is the source:
            scores are reported by source.
        sequence: The drive, clip or crossing that it belongs to; adjacent frames have the same.
        city: Where it was taken, if the source says so.
        split: ``train``, ``val`` or ``test`` of the source; empty if it has none.
        size_wh: Width and height that the labels refer to, px; None if unknown.
        decode: Decodes a raw file to uint8 BGR ``[H, W, 3]``; None for a file in an ordinary image format,
            which is used as it is.
        objects: Its labelled objects; may be empty.
    """

    path: Path
    name: str
    sequence: str
    city: str = ""
    split: str = ""
    size_wh: tuple[int, int] | None = None
    decode: Decoder | None = None
    objects: Sequence[Annotation] = ()


@dataclass(slots=True)
class SkipCounter:
    """Counts of what was not converted.

    Attributes:
        reasons: Counts by reason.
        examples: The first few, each with its reason.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, reason: str, where: object = "", times: int = 1) -> None:
        """Count ``times`` items; ``where`` is listed as an example."""
        self.reasons[reason] += times
        if where and len(self.examples) < LISTED:
            self.examples.append(f"{where}: {reason}")

    def usable(self, items: Iterable[T], make: Callable[[T], R], where: object = "") -> Iterator[R]:
        """Yield ``make(item)`` for each item; unusable ones are counted and listed with ``where``."""
        for item in items:
            try:
                yield make(item)
            except UnusableError as error:  # noqa: PERF203 (one bad item must not stop the others)
                self.add(error.reason, where and f"{where} {str(item)[:SHOWN]}")


@dataclass(slots=True, kw_only=True)
class SourceDataset:
    """The contents of a source data set.

    Attributes:
        dialect: The table of a class map for its labels.
        records: Its images.
        categories: Its own classes in order, if it does not need a class map.
        has_sequences: Whether ``ImageRecord.sequence`` groups adjacent frames; if not, each image is its own
            sequence.
        skipped_images: Images that were skipped.
        skipped_objects: Objects that were skipped.
    """

    dialect: str
    records: list[ImageRecord] = field(default_factory=list)
    categories: tuple[str, ...] = ()
    has_sequences: bool = True
    skipped_images: SkipCounter = field(default_factory=SkipCounter)
    skipped_objects: SkipCounter = field(default_factory=SkipCounter)


def number(value: Any) -> float:
    """A finite number of a label.

    Raises:
        UnusableError: It is none.
    """
    try:
        found = float(value)
    except (TypeError, ValueError) as error:
        raise UnusableError("a coordinate is not a number") from error
    if not math.isfinite(found):
        raise UnusableError("a coordinate is not a number")
    return found


def tail(path: object, parts: int) -> PurePosixPath:
    """The last ``parts`` of a path from another machine, with either kind of slash.

    Raises:
        UnusableError: It has fewer, or they leave the folder that they are resolved in.
    """
    found = PurePosixPath(str(path).replace("\\", "/")).parts[-parts:]
    if len(found) < parts:
        raise UnusableError("the path of the image is too short")
    return _inside(PurePosixPath(*found))


def relative(path: object) -> PurePosixPath:
    """A path that stays in the folder that it is resolved in.

    Raises:
        UnusableError: It is empty, absolute or leaves the folder.
    """
    return _inside(PurePosixPath(str(path).replace("\\", "/")))


def _inside(path: PurePosixPath) -> PurePosixPath:
    if not path.name or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise UnusableError("the path of the image leads out of the data set")
    return path


def name_of(source: str, *parts: str) -> str:
    """A file name: the source, ``_``, and the parts that identify an image."""
    return "_".join(re.sub(r"[^\w.+-]+", "-", part) for part in (source, *parts) if part)


def find(root: Path, pattern: str, depth: int = 3) -> list[Path]:
    """Files of that name up to ``depth`` folders deep, without a full walk of large image folders."""
    return sorted(p for level in range(depth + 1) for p in root.glob("*/" * level + pattern) if p.is_file())


def sequence_by(pattern: re.Pattern[str] | None, stem: str) -> str:
    """The sequence in a file name: the first group of a pattern, or its whole match."""
    match = pattern.search(stem) if pattern else None
    if match is None:
        return stem
    return match.group(1) if match.re.groups else match.group()
