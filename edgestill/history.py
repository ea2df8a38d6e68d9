"""The history of a training: a CSV file with one row an epoch, replaced atomically."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgestill.files import write_bytes

Row = dict[str, float | None]

#: Columns with timings; all others are reproducible to the last digit when a run is repeated or resumed.
TIMING_COLUMNS = ("seconds_per_step", "images_per_s", "seconds")


def write_history(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows; a missing value (mAP in an epoch without validation) is an empty field."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _text(name, row.get(name)) for name in columns})
    write_bytes(path, stream.getvalue().encode())


def read_history(path: Path) -> list[Row]:
    """Read what ``write_history`` wrote; an empty field is None.

    Raises:
        FileNotFoundError: There is no such file.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        return [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(stream)]


def count_epochs(path: Path) -> int:
    """How many epochs a history holds, without parsing it; 0 where there is no file yet."""
    try:
        return max(0, path.read_bytes().count(b"\n") - 1)
    except FileNotFoundError:
        return 0


def without_timing(row: Mapping[str, float | None]) -> Row:
    """The reproducible part of a row."""
    return {name: value for name, value in row.items() if name not in TIMING_COLUMNS}


def _text(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name == "epoch":
        return str(int(value))
    return f"{value:.4f}" if name in TIMING_COLUMNS else repr(float(value))
