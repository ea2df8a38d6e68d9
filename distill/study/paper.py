"""Tables of a paper, with its figures and those of the study row by row.

A study's file has them as ``[[paper]]``. A row gives what the paper reports, and names the rows of the study
that it is compared with, by student, teacher and arm. Nothing is computed from the paper's figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, isnan, nan
from typing import TYPE_CHECKING, Any

from distill.study.formatting import NO_TEACHER, markdown_table, points
from edgestill.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from distill.study.summary import ArmRow

#: Figures of a network that a column may have, and their units.
NETWORK_UNITS = {"parameters": 1e6, "head_parameters": 1e6, "gflops": 1.0, "head_gflops": 1.0}
SCORES = ("map50", "map50_95", "map75", "primary")
PARTS = ("size", "ap50", "ap50_95")  # followed by the name of a size or a class
ANY = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRow:
    """A row of a paper's table, and the rows of the study beside it.

    Attributes:
        name: The row's name in the paper.
        values: What the paper reports, by column: AP in points, parameters in millions, GFLOPs.
        student: The student in the study; empty for every one.
        teacher: The teacher; empty for every one, ``-`` for none. The row of a teacher itself has its name as
            the student and ``(the teacher)`` as the arm.
        arm: The arm, with its values of the sweep; empty if the study has no such row.
        remark: What a reader must know about the row.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    student: str = ANY
    teacher: str = ANY
    arm: str = ANY
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperTable:
    """A ``[[paper]]`` table of a study.

    Attributes:
        title: Paper and number of the table.
        columns: The paper's columns in order, each with the study's key: a score (``map50``, ``map50_95``,
            ``map75``, ``primary``), ``size SIZE``, ``ap50 CLASS``, ``ap50_95 CLASS``, or ``parameters``,
            ``head_parameters`` (millions), ``gflops``, ``head_gflops``.
        rows: Its rows.
        remark: What an examination of the table found.
    """

    title: str
    columns: Mapping[str, Any]
    rows: tuple[PaperRow, ...]
    remark: str = ""


def check_paper(table: PaperTable) -> None:
    """Refuse columns without a meaning, and values that are not numbers.

    Raises:
        UsageError: It names the table and the column.
    """
    for column, key in table.columns.items():
        first, _, rest = str(key).partition(" ")
        if not (str(key) in {*SCORES, *NETWORK_UNITS} or (first in PARTS and rest)):
            names = [*SCORES, *NETWORK_UNITS, *(f"{part} NAME" for part in PARTS)]
            raise UsageError(
                f"the column {column} = {key!r} in the paper's table {table.title!r}",
                hint=f"one of {', '.join(names)}",
            )
    for row in table.rows:
        for column, value in row.values.items():
            if column not in table.columns:
                raise unknown_name(f"column of the paper's table {table.title!r}", column, table.columns)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not isfinite(value):
                raise UsageError(
                    f"{column} = {value!r} in the paper's row {row.name!r}",
                    hint="a number; leave the column out where the paper has none",
                )


def paper_text(tables: Sequence[PaperTable], rows: Sequence[ArmRow]) -> str:
    """The tables as Markdown, each under a heading; empty without any."""
    return "".join(f"\n{_markdown(table, rows)}\n" for table in tables)


def paper_values(tables: Sequence[PaperTable], rows: Sequence[ArmRow]) -> list[dict[str, Any]]:
    """The tables as plain values, a dictionary for each line.

    A line has ``table``, ``row``, ``source`` (``paper`` or ``study``), the student, teacher and arm of a line
    of the study, and by column the paper's figure, or mean and standard deviation over the seeds in the same
    unit; None where there is no figure.
    """
    found: list[dict[str, Any]] = []
    for table in tables:
        for row in table.rows:
            about = {"table": table.title, "row": row.name}
            values = {column: row.values.get(column) for column in table.columns}
            found.append({**about, "source": "paper", "student": "", "teacher": "", "arm": "", **values})
            found += [{**about, "source": "study", **_line(table, one)} for one in matching(row, rows)]
    return found


def matching(row: PaperRow, rows: Sequence[ArmRow]) -> list[ArmRow]:
    """The rows of a study that a row of the paper is compared with."""
    return [
        one
        for one in rows
        if row.arm == one.arm and row.student in {ANY, one.student} and row.teacher in {ANY, one.teacher}
    ]


def _line(table: PaperTable, row: ArmRow) -> dict[str, Any]:
    """A row of the study as plain values."""
    values: dict[str, Any] = {"student": row.student, "teacher": row.teacher, "arm": row.arm}
    for column, key in table.columns.items():
        middle, width = _figure(row, key)
        values |= {column: _known(middle), f"{column} std": _known(width)}
    return values


def _figure(row: ArmRow, key: str) -> tuple[float, float]:
    """Mean and standard deviation of a column, in the paper's unit; NaN where there is none."""
    if key in NETWORK_UNITS:
        return row.network.get(key, nan) / NETWORK_UNITS[key], nan
    if key not in row.scores:
        return nan, nan
    return 100 * row.mean(key), 100 * row.spread(key)


def _known(value: float) -> float | None:
    return None if isnan(value) else value


def _markdown(table: PaperTable, rows: Sequence[ArmRow]) -> str:
    lines: list[list[str]] = []
    has_remarks = any(row.remark for row in table.rows)
    for row in table.rows:
        figures = [f"{row.values[column]:g}" if column in row.values else "-" for column in table.columns]
        lines.append([row.name, "paper", *figures, *([row.remark] if has_remarks else [])])
        lines += [
            [_name(one), "study", *_figures(table, one), *([""] if has_remarks else [])]
            for one in matching(row, rows)
        ]
    columns = ["Row", "Source", *table.columns, *(["Remark"] if has_remarks else [])]
    parts = [f"## {table.title}", markdown_table(columns, lines), table.remark]
    return "\n\n".join(part for part in parts if part)


def _figures(table: PaperTable, row: ArmRow) -> list[str]:
    found = []
    for key in table.columns.values():
        middle, width = _figure(row, key)
        if key in NETWORK_UNITS:
            found.append("-" if isnan(middle) else f"{middle:.2f}")
        else:
            found.append(points(middle / 100, width / 100))
    return found


def _name(row: ArmRow) -> str:
    """The row of a study in one cell, e.g. ``yolov5n from yolov5s, mkd``."""
    origin = row.student if row.teacher == NO_TEACHER else f"{row.student} from {row.teacher}"
    return f"{origin}, {row.arm}"
