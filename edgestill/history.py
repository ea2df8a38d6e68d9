"""The history of a training: a CSV file with one row an epoch, replaced atomically."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgestill.errors import DataError
from edgestill.files import read_text, write_bytes

Row = dict[str, float | None]

#: Columns with timings; all others are reproducible to the last digit when a run is repeated or resumed.
TIMING_COLUMNS = ("seconds_per_step", "images_per_s", "seconds")
HINT = "put the file back, or delete its folder and train again"


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
        DataError: It is missing, is no table of numbers, or a row has no epoch.
    """
    try:
        table = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
        rows = [{name: float(value) if value else None for name, value in row.items()} for row in table]
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", hint=HINT) from error
    except (OSError, ValueError, TypeError, csv.Error) as error:  # TypeError where a row has more fields
        raise DataError(f"{path} is not the history of a training: {error}", hint=HINT) from error
    if any(row.get("epoch") is None for row in rows):
        raise DataError(f"{path} is not the history of a training: a row has no epoch", hint=HINT)
    return rows


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
