"""Text of a study's figures, and Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

NO_TEACHER = "-"  # in the place of a teacher's name
POINTS = 100  # in a score of 1
NAMES = {"Student", "Teacher", "Arm", "Row", "Source", "Remark"}  # columns that are not numbers


def points(middle: float, width: float) -> str:
    """A fraction in points, with its spread where there is one."""
    if isnan(middle):
        return "-"
    return f"{100 * middle:.1f}" if isnan(width) else f"{100 * middle:.1f} ± {100 * width:.1f}"


def signed(value: float) -> str:
    """A difference of fractions in points."""
    return "-" if isnan(value) else f"{100 * value:+.1f}"


def interval(low: float, high: float) -> str:
    """An interval of differences of fractions in points."""
    return "-" if isnan(low) else f"{100 * low:+.1f} to {100 * high:+.1f}"


def p_value(value: float) -> str:
    """A probability with three digits."""
    return "-" if isnan(value) else f"{value:.3f}" if value >= 0.0005 else "< 0.001"


def share(value: float) -> str:
    """A fraction in per cent."""
    return "-" if isnan(value) else f"{100 * value:.0f} %"


def markdown_table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; names to the left, numbers to the right. ``|`` in a name is no border."""
    rule = ["---" if column in NAMES else "---:" for column in columns]
    rows = (
        [" ".join(cell.split()).replace("|", r"\|") for cell in cells] for cells in (columns, rule, *lines)
    )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
