"""The interface of a format's reader: images with their objects, and what was skipped and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

LISTED = 20  # skipped items that are listed; all are counted
SHOWN = 80  # characters of a broken label
INCOMPLETE = "an object in it could not be read"
NOT_THERE = "the image is not there"
LOST = "its image has an object that could not be read"

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


class UnreadableError(UnusableError):
    """A value of a label has no plain meaning.

    An object that is left out for this reason is in the image all the same. So the image is left out too: it
    would teach that the object is background.
    """


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
        listed: Its file name in the labels, where several names could lead to one file.
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
    listed: str = ""
    size_wh: tuple[int, int] | None = None
    decode: Decoder | None = None
    objects: Sequence[Annotation] = ()


@dataclass(slots=True)
class SkipCounter:
    """Counts of what was not converted.

    Attributes:
        reasons: Counts by reason.
        examples: The first few, each with its reason.
        first: The first example of each reason.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, where: object = "", times: int = 1) -> None:
        """Count ``times`` items; ``where`` is listed as an example."""
        reason = _printable(reason)
        self.reasons[reason] += times
        if where:
            self.first.setdefault(reason, _printable(where))
            if len(self.examples) < LISTED:
                self.examples.append(f"{_printable(where)}: {reason}")

    def usable(self, items: Iterable[T], make: Callable[[T], R], where: object = "") -> Iterator[R]:
        """Yield ``make(item)`` for each item; unusable ones are counted and listed with ``where``."""
        for item in items:
            try:
                yield make(item)
            except UnusableError as error:  # noqa: PERF203 (one bad item must not stop the others)
                self.add(error.reason, where and f"{where} {str(item)[:SHOWN]}")


def _printable(text: object) -> str:
    """``text`` with halves of surrogate pairs, which JSON and file names can hold, as escapes."""
    return str(text).encode(errors="backslashreplace").decode()


@dataclass(slots=True, kw_only=True)
class SourceDataset:
    """The contents of a source data set.

    Attributes:
        dialect: The table of a class map for its labels.
        records: Its images.
        categories: Its own classes in order, if it does not need a class map.
        has_sequences: Whether ``ImageRecord.sequence`` groups adjacent frames; if not, each image is its own
            sequence.
        objects: How many labelled objects it lists, whether they could be read or not.
        unreadable: Objects that could not be read, by reason; ``skipped_objects`` has them too.
        without_image: How many objects belong to an image that is not known, so that it cannot be left out.
        skipped_images: Images that were skipped.
        skipped_objects: Objects that were skipped.
        warnings: Conditions of the labels that are allowed but probably not intended.
    """

    dialect: str
    records: list[ImageRecord] = field(default_factory=list)
    categories: tuple[str, ...] = ()
    has_sequences: bool = True
    objects: int = 0
    unreadable: SkipCounter = field(default_factory=SkipCounter)
    without_image: int = 0
    skipped_images: SkipCounter = field(default_factory=SkipCounter)
    skipped_objects: SkipCounter = field(default_factory=SkipCounter)
    warnings: list[str] = field(default_factory=list)

    def add_unreadable(self, reason: str, where: object = "", times: int = 1) -> None:
        """Count ``times`` objects that could not be read; they count in ``objects`` already."""
        self.unreadable.add(reason, where, times)
        self.skipped_objects.add(reason, where, times)

    def objects_of(
        self,
        items: Sequence[T],
        make: Callable[[T], Annotation],
        where: object,
        text: Callable[[T], str] = str,
    ) -> tuple[Annotation, ...]:
        """The objects of one image, each by ``make``; ``text`` shows one that could not be read.

        Raises:
            UnusableError: One could not be read, so the image cannot be used.
        """
        self.objects += len(items)
        found = []
        for item in items:
            try:
                found.append(make(item))
            except UnreadableError as error:  # noqa: PERF203 (one bad object must not stop the others)
                self.add_unreadable(error.reason, f"{where} {text(item)[:SHOWN]}")
        self.give_up_if(len(found) < len(items), len(found))
        return tuple(found)

    def give_up_if(self, unreadable: bool, others: int) -> None:
        """Leave an image out if it has an unreadable object, and count its ``others``.

        Raises:
            UnusableError: It has one.
        """
        if unreadable:
            if others:
                self.skipped_objects.add(LOST, times=others)
            raise UnusableError(INCOMPLETE)

    def give_up_image(self, error: UnusableError, objects: int, where: object) -> NoReturn:
        """Count the objects of an image whose entry could not be read, and raise its error."""
        self.objects += objects
        if objects:
            self.add_unreadable(error.reason, where, objects)
        raise error
