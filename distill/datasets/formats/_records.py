"""What a format's reader hands over: pictures with their objects, and what was left out and why."""

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

NAMED = 20  # left-out things that are named; all are counted
SHOWN = 80  # characters of a broken label

T = TypeVar("T")
R = TypeVar("R")
Decoder = Callable[[Path], NDArray[np.uint8]]


class UnusableError(Exception):
    """A picture or an object cannot be converted.

    Args:
        reason: Why, the same words for all of a kind: they are counted.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Annotation:
    """One labelled object.

    Attributes:
        tags: What the source says about it, by name; the class map chooses among them.
        xyxy: Corners in pixels of the picture, as the source has them: they may lie outside.
    """

    tags: Mapping[str, str]
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One picture and its labels.

    Attributes:
        picture: The file.
        name: Its name in the data set, without suffix. What stands before the first ``_`` names the source:
            scores are reported by it.
        sequence: The drive, clip or crossing that it belongs to; its neighbours in time have the same.
        city: Where it was taken, if the source says so.
        split: ``train``, ``val`` or ``test`` of the source; empty if it has none.
        size_wh: Width and height that the labels are meant for, px; None if the source does not say.
        decode: Makes uint8 BGR ``[H, W, 3]`` of a file that no ordinary reader shows as it should look; None
            for a file that is used as it is.
        objects: What it shows; none is a picture without objects.
    """

    picture: Path
    name: str
    sequence: str
    city: str = ""
    split: str = ""
    size_wh: tuple[int, int] | None = None
    decode: Decoder | None = None
    objects: Sequence[Annotation] = ()


@dataclass(slots=True)
class LeftOut:
    """What was not converted.

    Attributes:
        reasons: How often, by reason.
        named: The first few, each with its reason.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)

    def add(self, reason: str, where: object = "", times: int = 1) -> None:
        """Count ``times`` things; name one if ``where`` says which."""
        self.reasons[reason] += times
        if where and len(self.named) < NAMED:
            self.named.append(f"{where}: {reason}")

    def sift(self, items: Iterable[T], make: Callable[[T], R], where: object = "") -> Iterator[R]:
        """What ``make`` gives of each item; those it cannot use are counted, and named with ``where``."""
        for item in items:
            try:
                yield make(item)
            except UnusableError as error:  # noqa: PERF203 (one bad item must not stop the others)
                self.add(error.reason, where and f"{where} {str(item)[:SHOWN]}")


@dataclass(slots=True, kw_only=True)
class Source:
    """A data set as it was found.

    Attributes:
        dialect: The table of a class map that fits its labels.
        records: Its pictures.
        categories: Its own classes in order, if it can do without a class map.
        has_sequences: Whether ``Record.sequence`` tells neighbours in time. If not, each picture is its own.
        pictures: Pictures that were left out.
        objects: Objects that were left out.
    """

    dialect: str
    records: list[Record] = field(default_factory=list)
    categories: tuple[str, ...] = ()
    has_sequences: bool = True
    pictures: LeftOut = field(default_factory=LeftOut)
    objects: LeftOut = field(default_factory=LeftOut)


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
    """The last ``parts`` of a path from somebody else's machine, with either kind of slash.

    Raises:
        UnusableError: It has fewer, or they lead out of the folder that they are looked up in.
    """
    found = PurePosixPath(str(path).replace("\\", "/")).parts[-parts:]
    if len(found) < parts:
        raise UnusableError("the path of the picture is too short")
    return _inside(PurePosixPath(*found))


def relative(path: object) -> PurePosixPath:
    """A path that stays in the folder that it is looked up in.

    Raises:
        UnusableError: It is empty, absolute or climbs out.
    """
    return _inside(PurePosixPath(str(path).replace("\\", "/")))


def _inside(path: PurePosixPath) -> PurePosixPath:
    if not path.name or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise UnusableError("the path of the picture leads out of the data set")
    return path


def name_of(source: str, *parts: str) -> str:
    """A file name: the source, ``_``, and what tells its pictures apart."""
    return "_".join(re.sub(r"[^\w.+-]+", "-", part) for part in (source, *parts) if part)


def find(root: Path, pattern: str, depth: int = 3) -> list[Path]:
    """Files of that name down to some levels of folders; picture folders are not walked."""
    return sorted(p for level in range(depth + 1) for p in root.glob("*/" * level + pattern) if p.is_file())


def sequence_by(pattern: re.Pattern[str] | None, stem: str) -> str:
    """The sequence that a pattern finds in a file name: its first group, or all that it matches."""
    match = pattern.search(stem) if pattern else None
    if match is None:
        return stem
    return match.group(1) if match.re.groups else match.group()
