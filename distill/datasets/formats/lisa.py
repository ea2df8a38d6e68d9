"""LISA Traffic Light Dataset: one CSV a clip, images 1280 x 960.

The folders in the CSVs (``dayTraining``) are not those on disk (``dayTrain/dayTrain/dayClip1/frames``), so
images are found by their file name, which begins with the clip. A frame of an annotated clip without a row
shows no light. The ``sample-`` folders repeat clips; where those are there in full the samples are left out.

Source: M. B. Jensen et al., Vision for Looking at Traffic Lights: Issues, Survey, and Perspectives, IEEE
T-ITS 2016; https://www.kaggle.com/datasets/mbornoe/lisa-traffic-light-dataset.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

from distill.datasets.formats._paths import name_of, walk
from distill.datasets.formats._records import (
    NOT_THERE,
    SHOWN,
    Annotation,
    ImageRecord,
    SkipCounter,
    SourceDataset,
    UnreadableError,
)
from distill.datasets.formats._values import number, pixels
from edgestill.dataset import IMAGE_SUFFIXES
from edgestill.errors import DataError

COLUMNS = (
    "Filename",
    "Annotation tag",
    "Upper left corner X",
    "Upper left corner Y",
    "Lower right corner X",
    "Lower right corner Y",
)
CLIP = re.compile(r"(day|night)(clip|sequence)\d+", re.IGNORECASE)
SPLITS = {"clip": "train", "sequence": "test"}
SAMPLE = "sample-"
DIALECT: dict[str, Any] = {"delimiter": ";", "quoting": csv.QUOTE_NONE}


@dataclass(slots=True)
class _Clip:
    """The rows of a clip by the key of their frame: file name, boxes, and how many could not be read."""

    clip: str
    names: dict[str, str] = field(default_factory=dict)
    boxes: dict[str, list[Annotation]] = field(default_factory=lambda: defaultdict(list))
    unreadable: Counter[str] = field(default_factory=Counter)


def read(source: Path, *, images: Path | None = None, bulbs: bool = False) -> SourceDataset:
    """Read all clips that have annotations.

    Args:
        source: The unpacked folder.
        images: The folder of the frames, if it is another.
        bulbs: Whether boxes are those around the lit bulb instead of the whole head.

    Raises:
        DataError: There are no annotations, or they are not LISA's.
    """
    wanted = f"frameAnnotations{'BULB' if bulbs else 'BOX'}.csv"
    found = SourceDataset(dialect="lisa")
    clips: dict[str, Path] = {}
    for path in walk(source, wanted):
        clip = path.parent.name
        # A sample repeats a clip: it serves only where the clip itself is not there.
        if clips.setdefault(clip.removeprefix(SAMPLE), path).parent.name.startswith(SAMPLE):
            clips[clip.removeprefix(SAMPLE)] = path
    if not clips:
        raise DataError(f"{source} holds no {wanted}", hint="unpack the folder Annotations beside the clips")
    frames = _frames(images or source, found.skipped_images)
    for clip, path in sorted(clips.items()):
        rows, of_clip = _rows(path, clip, found), frames.pop(clip, {})
        for key in sorted(rows.names.keys() - of_clip.keys()):
            found.skipped_images.add(NOT_THERE, rows.names[key])
            if of_clip:  # the name may be wrong, and the frame one of those without a row
                found.without_image += len(rows.boxes.get(key, ())) + rows.unreadable[key]
        make = partial(_record, found, clip, rows)
        found.records += found.skipped_images.usable(sorted(of_clip.items()), make, path)
    for clip, paths in frames.items():
        found.skipped_images.add(f"its clip has no {wanted}", clip, times=len(paths))
    return found


def _frames(images: Path, left_out: SkipCounter) -> dict[str, dict[str, Path]]:
    """Images by clip and key."""
    frames: dict[str, dict[str, Path]] = defaultdict(dict)
    # Samples last, so that they find their clip there already
    for path in sorted(walk(images, "*--*"), key=lambda p: (SAMPLE in str(p.relative_to(images)), p)):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        clip = path.name.partition("--")[0]
        if frames[clip].setdefault(_key(path.name), path) != path:
            left_out.add("a second copy of an image", path)
    return frames


def _key(name: str) -> str:
    """What a row and its frame have in common: frames may have been renamed to ``.JPG`` or saved as PNG."""
    return PureWindowsPath(name).stem.casefold()


def _record(found: SourceDataset, clip: str, rows: _Clip, frame: tuple[str, Path]) -> ImageRecord:
    key, path = frame
    kind, objects = CLIP.fullmatch(clip), tuple(rows.boxes.get(key, ()))
    found.give_up_if(rows.unreadable[key] > 0, len(objects))
    return ImageRecord(
        path=path,
        name=name_of(f"lisa-{kind[1].lower()}" if kind else "lisa", path.stem),
        sequence=clip,
        split=SPLITS[kind[2].lower()] if kind else "",
        objects=objects,
    )


def _rows(path: Path, clip: str, found: SourceDataset) -> _Clip:
    """The rows of a clip."""
    rows = _Clip(clip)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            # Without quoting: an unpaired quotation mark would join all rows up to the next one.
            lines = [[_plain(cell) for cell in row] for row in csv.reader(stream, **DIALECT)]
            lines = [cells for cells in lines if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not readable CSV: {error}", hint="download the labels again") from error
    header, *others = lines or [[]]
    lacking = set(COLUMNS) - set(header)
    if lacking:
        raise DataError(
            f"{path} lacks the column {min(lacking)!r}",
            hint="columns are separated by semicolons; download the annotations again",
        )
    if others and len(others[-1]) < min(len(header), max(map(len, others))):
        # The frames of the rows behind would be frames without lights.
        raise DataError(f"{path} ends within a row", hint="download the annotations again")
    for cells in others:
        _add_row(path, header, cells, rows=rows, found=found)
    return rows


def _plain(cell: str) -> str:
    return cell.strip().strip('"').strip()


def _add_row(
    path: Path, header: Sequence[str], cells: Sequence[str], *, rows: _Clip, found: SourceDataset
) -> None:
    found.objects += 1
    where = f"{path} {';'.join(cells)[:SHOWN]}"
    row = dict(zip(header, cells, strict=False))
    # Windows paths know both slashes
    name = PureWindowsPath(row.get(COLUMNS[0], "")).name
    key = _key(name)
    if not key.startswith(f"{rows.clip.casefold()}--"):
        found.without_image += 1
        reason = "a row without the name of a frame of its clip" if key else "a row without file name"
        found.add_unreadable(reason, where)
        return
    rows.names[key] = name
    try:
        rows.boxes[key].append(_object(row, joined=len(cells) > len(header)))
    except UnreadableError as error:
        rows.unreadable[key] += 1
        found.add_unreadable(error.reason, where)


def _object(row: Mapping[str, str], *, joined: bool) -> Annotation:
    if joined:
        raise UnreadableError("a row of more columns than the header")
    tag = row.get(COLUMNS[1])
    if not tag:
        raise UnreadableError("a row without tag")
    x0, y0, x1, y1 = pixels(*(number(row.get(column)) for column in COLUMNS[2:]))
    (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
    return Annotation({"tag": tag}, (x0, y0, x1, y1))
