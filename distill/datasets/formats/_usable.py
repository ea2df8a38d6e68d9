"""Which records of a source are converted, and when there are too few of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from distill.datasets.formats._class_map import ClassRule
from distill.datasets.formats._records import (
    INCOMPLETE,
    LOST,
    NOT_THERE,
    ImageRecord,
    SourceDataset,
    UnreadableError,
    UnusableError,
)
from edgestill.errors import DataError

MOST_UNREADABLE = 0.05  # of the objects
NAME_BYTES = 200  # of an image's name: label, temporary file and suffix need some of the 255


def with_readable_classes(found: SourceDataset, rule: ClassRule) -> None:
    """Leave out the images of which an object lacks the tag that decides its class.

    Raises:
        DataError: No object is left, or more than ``MOST_UNREADABLE`` could not be read.
    """
    kept, left_out, left = [], Counter[str](), 0
    for record in found.records:
        classes, unreadable = 0, 0
        for item in record.objects:
            try:
                rule.class_id(item.tags)
                classes += 1
            except UnreadableError as error:  # noqa: PERF203 (one bad object must not stop the others)
                found.add_unreadable(error.reason, f"{record.path} {dict(item.tags)}")
                unreadable += 1
            except UnusableError as error:
                left_out[error.reason] += 1
        if unreadable:
            found.skipped_objects.add(LOST, times=len(record.objects) - unreadable)
            found.skipped_images.add(INCOMPLETE, record.path)
        else:
            kept.append(record)
            left += classes
    found.records = kept
    unreadable = found.unreadable.reasons.total()
    if found.objects and not left:
        raise no_object(found, found.skipped_objects.reasons + left_out)
    if unreadable > MOST_UNREADABLE * found.objects:
        raise DataError(
            f"{unreadable} of {found.objects} objects could not be read, more than {MOST_UNREADABLE:.0%}: "
            f"{_most(found.unreadable.reasons)}",
            hint=f"correct the labels; the first: {found.unreadable.examples[0]}",
        )


def no_object(found: SourceDataset, left_out: Counter[str]) -> DataError:
    """The error of a data set in which images have objects and none of these can be converted."""
    reasons = left_out or found.skipped_images.reasons
    examples = found.skipped_objects.examples or found.skipped_images.examples
    hint = f"the first: {examples[0]}" if examples else "--classes names the class map"
    return DataError(f"no object could be converted: {_most(reasons)}", hint=hint)


def no_image(found: SourceDataset) -> DataError:
    """The error of a data set without an image that can be converted."""
    left_out = found.skipped_images
    first = f"the first: {left_out.examples[0]}" if left_out.examples else "is this the right folder?"
    if NOT_THERE in left_out.reasons:
        first = f"--images DIR names the folder of the images; {first}"
    return DataError(
        f"no image could be converted: {_most(left_out.reasons) or 'the labels list none'}", hint=first
    )


def _most(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} ({n})" for reason, n in reasons.most_common(3))


def with_image_files(found: SourceDataset, *, images_named: bool) -> None:
    """Keep the records whose image is there, one for each image, each with a name of its own.

    Args:
        found: The source.
        images_named: Whether the person named the folder of the images.

    Raises:
        DataError: No image is there.
    """
    there = []
    for record in found.records:
        if record.path.is_file():
            there.append(record)
        else:
            found.skipped_images.add(NOT_THERE, record.path)
    if missing := found.skipped_images.reasons[NOT_THERE]:
        advice = "" if images_named else "; --images DIR names the folder of the images"
        first = found.skipped_images.first.get(NOT_THERE, "")
        found.warnings.append(f"{missing} images are not there, the first {first}{advice}")
    found.records = _named_apart(_joined(there, found))
    if not found.records:
        raise no_image(found)


def _joined(records: Sequence[ImageRecord], found: SourceDataset) -> list[ImageRecord]:
    """Records of one image in one split as one: some tools write an entry for each object."""
    by_image: dict[tuple[Path, str], ImageRecord] = {}
    joined: list[Path] = []
    for record in records:
        key = (record.path, record.split)
        if (first := by_image.get(key)) is not None:
            joined.append(record.path)
            by_image[key] = replace(first, objects=(*first.objects, *record.objects))
        else:
            by_image[key] = record
    if joined:
        found.warnings.append(f"{len(set(joined))} images have several entries, joined: {joined[0]}")
    return list(by_image.values())


def _named_apart(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """The records with names that a file can have and that differ in more than case."""
    taken: set[str] = set()
    named = []
    for record in records:
        name = shortened = _shortened(record.name)
        count = 0
        while name.casefold() in taken:
            name = f"{shortened}-{_digest('/'.join(record.path.parts[-3:]) + '+' * count)}"
            count += 1
        taken.add(name.casefold())
        named.append(record if name == record.name else replace(record, name=name))
    return named


def _shortened(name: str) -> str:
    data = name.encode()
    if len(data) <= NAME_BYTES:
        return name
    return f"{data[: NAME_BYTES - 9].decode(errors='ignore')}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=4).hexdigest()
