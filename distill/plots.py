"""The course of a training as a picture: loss by part, mAP by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill.history import TIMING_COLUMNS, Row
from edgestill.files import replacing

SCORES = ("map50", "map50_95")
NOT_LOSSES = frozenset({"epoch", "lr", *SCORES, *TIMING_COLUMNS})


def plot_history(path: Path, rows: Sequence[Row]) -> str | None:
    """Draw a history as PNG; gives the path, or None where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)
    except ImportError:
        return None
    figure = Figure(
        figsize=(10, 4), layout="constrained"
    )  # no pyplot: needs no display, keeps no global state
    losses, scores = figure.subplots(1, 2)
    for name in dict.fromkeys(name for row in rows for name in row if name not in NOT_LOSSES):
        losses.plot(*_series(rows, name), label=name)
    losses.set(xlabel="epoch", ylabel="loss per image", yscale="log", title="Loss by part")
    for name in SCORES:
        scores.plot(*_series(rows, name), marker="o", label=name)
    scores.set(xlabel="epoch", ylim=(0, 1), title="Validation")
    for axes in (losses, scores):
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return str(path)


def _series(rows: Sequence[Row], name: str) -> tuple[list[float], list[float]]:
    points = [(row["epoch"] or 0.0, value) for row in rows if (value := row.get(name)) is not None]
    return [x for x, _ in points], [y for _, y in points]
