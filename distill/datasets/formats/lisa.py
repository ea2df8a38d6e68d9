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
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath

from distill.datasets.formats._records import (
    Annotation,
    ImageRecord,
    SkipCounter,
    SourceDataset,
    UnusableError,
    name_of,
    number,
)
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

Labels = Mapping[str, list[Annotation]]


def read(source: Path, *, bulbs: bool = False) -> SourceDataset:
    """Read all clips that have annotations.

    Args:
        source: The unpacked folder.
        bulbs: Whether boxes are those around the lit bulb instead of the whole head.

    Raises:
        DataError: There are no annotations, or they are not LISA's.
    """
    wanted = f"frameAnnotations{'BULB' if bulbs else 'BOX'}.csv"
    found = SourceDataset(dialect="lisa")
    clips: dict[str, Path] = {}
    for path in sorted(source.rglob(wanted)):
        clip = path.parent.name
        # A sample repeats a clip: it serves only where the clip itself is not there.
        if clips.setdefault(clip.removeprefix(SAMPLE), path).parent.name.startswith(SAMPLE):
            clips[clip.removeprefix(SAMPLE)] = path
    if not clips:
        raise DataError(f"{source} holds no {wanted}", hint="unpack the folder Annotations beside the clips")
    frames = _frames(source, found.skipped_images)
    for clip, path in sorted(clips.items()):
        rows = _rows(path, found.skipped_objects)
        for name in sorted(rows.keys() - frames.get(clip, {}).keys()):
            found.skipped_images.add("the image is not there", name)
        for name, image_path in sorted(frames.pop(clip, {}).items()):
            found.records.append(_record(clip, name, image_path, rows))
    for clip, paths in frames.items():
        found.skipped_images.add(f"its clip has no {wanted}", clip, times=len(paths))
    return found


def _frames(source: Path, left_out: SkipCounter) -> dict[str, dict[str, Path]]:
    """Images by clip and file name."""
    frames: dict[str, dict[str, Path]] = defaultdict(dict)
    # Samples last, so that they find their clip there already
    for path in sorted(source.rglob("*--*"), key=lambda p: (SAMPLE in str(p.relative_to(source)), p)):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        clip = path.name.partition("--")[0]
        if path.name in frames[clip]:
            left_out.add("a second copy of an image", path)
        else:
            frames[clip][path.name] = path
    return frames


def _record(clip: str, name: str, image_path: Path, rows: Labels) -> ImageRecord:
    kind = CLIP.fullmatch(clip)
    return ImageRecord(
        path=image_path,
        name=name_of(f"lisa-{kind[1].lower()}" if kind else "lisa", Path(name).stem),
        sequence=clip,
        split=SPLITS[kind[2].lower()] if kind else "",
        objects=tuple(rows.get(name, ())),
    )


def _rows(path: Path, left_out: SkipCounter) -> dict[str, list[Annotation]]:
    """The boxes of a clip by file name."""
    boxes: dict[str, list[Annotation]] = defaultdict(list)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, delimiter=";")
            lacking = set(COLUMNS) - set(reader.fieldnames or ())
            if lacking:
                raise DataError(
                    f"{path} lacks the column {min(lacking)!r}",
                    hint="columns are separated by semicolons; download the annotations again",
                )
            for name, box in left_out.usable(reader, _row, path):
                boxes[name].append(box)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not readable CSV: {error}", hint="download the labels again") from error
    return boxes


def _row(row: Mapping[str, str | None]) -> tuple[str, Annotation]:
    # Windows paths know both slashes
    name = PureWindowsPath(row["Filename"] or "").name
    tag = (row["Annotation tag"] or "").strip()
    if not name or not tag:
        raise UnusableError("a row without file name or tag")
    x0, y0, x1, y1 = (number(row[column]) for column in COLUMNS[2:])
    return name, Annotation({"tag": tag}, (x0, y0, x1, y1))
