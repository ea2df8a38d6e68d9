"""Numbers as the tables of several verbs show them."""

from __future__ import annotations


def points(value: float | None) -> str:
    """A score of 0 to 1 in points of 100, with one decimal; ``-`` for None."""
    return "-" if value is None else f"{100 * value:.1f}"
