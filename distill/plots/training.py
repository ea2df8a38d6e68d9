"""Plots of a training as PNG: loss and scores by epoch, precision over recall, confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.drawing.class_names import plot_names
from edgestill.drawing.palette import line_styles
from edgestill.history import TIMING_COLUMNS, Row
from edgestill.plotting import GRID, INK, SOFT, image_figure, line_style
from runtime.metrics.confusion import CONF, IOU

SCORES = {"map50": "mAP50", "map50_95": "mAP50-95"}
NOT_LOSSES = frozenset({"epoch", "lr", *SCORES, *TIMING_COLUMNS})
MAX_NAMED = 12  # classes with a legend entry or numbers in the matrix; more are not readable


def plot_history(path: Path, rows: Sequence[Row]) -> Path:
    """Draw the loss by part and the scores of the validations over the epochs.

    Raises:
        ModuleNotFoundError: matplotlib is not installed. This holds for the other plots too.
    """
    from matplotlib.ticker import LogLocator, NullLocator  # noqa: PLC0415 (an extra; slow to import)

    parts = list(dict.fromkeys(name for row in rows for name in row if name not in NOT_LOSSES))
    lines = -(-len(parts) // 3)  # of the legend
    with image_figure(path, (11, 4.4 + 0.22 * lines)) as figure:
        losses, scores = figure.subplots(1, 2)
        for k, name in enumerate(parts):
            losses.plot(*_series(rows, name), **line_style(k), label=name)
        losses.set(xlabel="epoch", title="Loss by part, per image")
        if any(value > 0 for name in parts for value in _series(rows, name)[1]):
            losses.set_yscale("log")
            losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            losses.yaxis.set_minor_locator(NullLocator())
            losses.yaxis.set_major_formatter("{x:g}")
        for k, (name, label) in enumerate(SCORES.items()):
            epochs, values = _series(rows, name)
            points = [100 * v for v in values]
            scores.plot(epochs, points, **line_style(k), label=label, marker="o", markersize=4)
            if points:
                best = int(np.argmax(points))
                _beside(scores, f"{points[best]:.1f}", (epochs[best], points[best]))
        scores.set(xlabel="epoch", title="Validation, points of 100", ylim=(0, 105))
        for axes in (losses, scores):
            axes.xaxis.get_major_locator().set_params(integer=True)
            # Below the axes, where long legends cover no line.
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)
    return path


def plot_curves(
    path: Path, curves: Mapping[str, NDArray[np.float64]], counts: NDArray[np.int64], classes: Sequence[str]
) -> Path:
    """Draw precision over recall, one line a class, with a dot at the deployed confidence threshold.

    Args:
        path: The PNG.
        curves: As of ``runtime.metrics.coco.curves``; may be empty.
        counts: As of ``runtime.metrics.confusion``, for the dots.
        classes: Class names.
    """
    recall = np.linspace(0, 1, 101)
    order = sorted(curves, key=lambda name: -float(curves[name].mean()))
    few = len(order) <= MAX_NAMED
    texts, styles = plot_names(classes), line_styles(classes)
    with image_figure(path, (8.4, 5), names=classes) as figure:
        axes = figure.subplots()
        for name in order:
            which = classes.index(name)
            curve, style = curves[name], styles[which] if few else {"color": GRID, "linewidth": 1}
            label = f"{texts[which]}  {100 * curve.mean():.1f}" if few else None
            axes.plot(recall[curve > 0], curve[curve > 0], **style, label=label)
            hits, found = counts[which, which], counts[:, which].sum()
            if few and found:
                point = hits / max(counts[which].sum(), 1), hits / found
                axes.plot(*point, "o", color=style["color"], clip_on=False)
        if len(order) > 1:
            mean = np.mean(list(curves.values()), axis=0)
            axes.plot(recall, mean, color=INK, linewidth=2.4, label=f"mean  {100 * mean.mean():.1f}")
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.005), ylim=(0, 1.005))
        axes.set_title(f"Precision over recall at IoU {IOU}; dots: confidence {CONF} or more")
        if order:
            figure.legend(loc="outside right center", title="AP50, points", alignment="left")
        else:
            axes.text(0.5, 0.5, "no labels", ha="center", color=SOFT)
    return path


def plot_confusion(path: Path, counts: NDArray[np.int64], classes: Sequence[str]) -> Path:
    """Draw the confusion matrix as shares of the true boxes of each class.

    Args:
        path: The PNG.
        counts: As of ``runtime.metrics.confusion``, ``[nc + 1, nc + 1]``.
        classes: Class names.
    """
    n = len(classes)
    labels = counts[:n].sum(1)
    shares = np.ma.masked_invalid(np.full(counts.shape, np.nan))
    shares[:n][labels > 0] = counts[:n][labels > 0] / labels[labels > 0, None]
    side, size = 3.6 + min(0.62 * (n + 1), 9), max(5.0, 10 - 0.12 * n)
    texts = plot_names(classes)
    with image_figure(path, (side + 1.2, side), names=classes) as figure:
        axes = figure.subplots()
        heat_map = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.grid(visible=False)
        axes.set_xticks(range(n + 1), [*texts, "missed"], rotation=45, ha="right", fontsize=size)
        axes.set_yticks(range(n + 1), [*texts, "nothing"], fontsize=size)
        for place in (axes.axhline, axes.axvline):
            place(n - 0.5, color=SOFT, linewidth=0.8)
        if n <= MAX_NAMED:
            _number(axes, counts, shares)
        axes.set(xlabel="predicted class", ylabel="true class")
        axes.set_title(
            f"Share of each true class; confidence {CONF}, IoU {IOU}\nLast row: false positives, a count"
        )
        bar = figure.colorbar(heat_map, ax=axes, shrink=0.8, format=lambda share, _: f"{100 * share:.0f} %")
        bar.outline.set_visible(False)
    return path


def _number(axes: Any, counts: NDArray[np.int64], shares: Any) -> None:
    """Write share and count into every cell that is not 0."""
    for y, x in np.ndindex(counts.shape):
        share = shares[y, x]
        if not counts[y, x]:
            continue
        text = str(counts[y, x]) if share is np.ma.masked else f"{100 * share:.0f} %\n{counts[y, x]}"
        dark = share is not np.ma.masked and share > 0.55
        axes.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if dark else INK)
    for y in np.flatnonzero(counts[:-1].sum(1) == 0):
        axes.text(len(counts) / 2 - 0.5, y, "no labels", ha="center", va="center", fontsize=8, color=SOFT)


def _beside(axes: Any, text: str, point: tuple[float, float]) -> None:
    axes.annotate(text, point, (0, 6), textcoords="offset points", ha="center", fontsize=9)


def _series(rows: Sequence[Row], name: str) -> tuple[list[float], list[float]]:
    points = [(row["epoch"] or 0.0, value) for row in rows if (value := row.get(name)) is not None]
    return [x for x, _ in points], [y for _, y in points]
