"""Plots of a study as PNG: scores by arm with every seed, learning curves, scores by class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from distill.study.formatting import NO_TEACHER
from distill.study.grid import Cell, by_student_and_teacher
from distill.study.summary import PRIMARY, ArmRow
from distill.training.run_folder import HISTORY
from edgestill.drawing.class_names import plot_names, plot_text
from edgestill.history import read_history
from edgestill.plotting import GRID, INK, SOFT, image_figure, line_style

PANELS = 9  # students and teachers with a panel of their own; more are not readable
ROW = 0.32  # inches of an arm
#: What is drawn by arm: the key of a score, and its title.
FIGURES = {"map50_95": "mAP50-95", "map50": "mAP50"}
PRIMARY_FIGURES = {PRIMARY: "primary figure", "map50_95": "mAP50-95"}


def plot_arms(path: Path, rows: Sequence[ArmRow], reference: str) -> Path:
    """Draw two figures by arm: every seed a dot, their mean a bar, the reference's mean a line.

    The figures are mAP50-95 and mAP50, or the study's primary one and mAP50-95.

    Raises:
        ModuleNotFoundError: matplotlib is not installed. This holds for the other plots too.
    """
    groups = list(by_student_and_teacher(rows))
    heights = [len(group) for _, group in groups]
    figures = PRIMARY_FIGURES if PRIMARY in rows[0].scores else FIGURES
    with image_figure(path, (10, 1.3 + ROW * sum(heights) + 0.5 * len(groups))) as drawing:
        panels = drawing.subplots(
            len(groups), 2, squeeze=False, sharex="col", gridspec_kw={"height_ratios": heights}
        )
        for (pair, group), line in zip(groups, panels, strict=True):
            for axes, key, title in zip(line, figures, figures.values(), strict=True):
                _arms(axes, group, key, reference)
                axes.set_title(f"{title}, points: {_title(pair)}")
            line[0].set_yticks(range(len(group)), [plot_text(row.arm) for row in group])
            line[1].set_yticks(range(len(group)), [""] * len(group))
    return path


def _arms(axes: Any, group: Sequence[ArmRow], key: str, reference: str) -> None:
    for y, row in enumerate(group):
        values = [100 * value for value in row.scores[key]]
        axes.plot(values, [y] * len(values), "o", color=line_style(0)["color"], markersize=6, alpha=0.75)
        mean = float(np.mean(values))
        axes.plot([mean, mean], [y - 0.3, y + 0.3], color=INK, linewidth=2)
        if row.arm == reference:
            axes.axvline(mean, color=SOFT, linewidth=1, linestyle="--")
    axes.set_ylim(len(group) - 0.5, -0.5)  # the first arm on top
    axes.grid(visible=False, axis="y")


def plot_learning(path: Path, cells: Sequence[Cell], out: Path) -> Path:
    """Draw mAP50-95 of the validations over the epochs, the mean of the seeds, one line an arm."""
    groups = list(by_student_and_teacher(cells))[:PANELS]
    with _panels(path, len(groups), 4.2) as (drawing, panels):
        for axes, (pair, group) in zip(panels, groups, strict=True):
            arms: dict[str, list[Cell]] = {}
            for cell in group:
                arms.setdefault(cell.arm, []).append(cell)
            for k, (arm, members) in enumerate(arms.items()):
                axes.plot(
                    *_course([out / cell.folder / HISTORY for cell in members]),
                    **line_style(k),
                    label=plot_text(arm),
                )
            axes.set(xlabel="epoch", title=f"mAP50-95 on val, points: {_title(pair)}")
            axes.xaxis.get_major_locator().set_params(integer=True)
        _legend(drawing, panels)
    return path


def _course(histories: Sequence[Path]) -> tuple[list[float], list[float]]:
    """Epochs, and the mean score of the seeds validated at each, points."""
    found: dict[float, list[float]] = {}
    for path in histories:
        for row in read_history(path):
            if (value := row.get("map50_95")) is not None:
                found.setdefault(row["epoch"] or 0.0, []).append(100 * value)
    return list(found), [float(np.mean(values)) for values in found.values()]


def plot_classes(path: Path, rows: Sequence[ArmRow], labels: Mapping[str, int]) -> Path:
    """Draw AP50-95 by class, mean and standard deviation over the seeds.

    Args:
        path: The PNG.
        rows: The study's rows.
        labels: Boxes by class in the split; a class without any is left out.
    """
    classes = [name for name, count in labels.items() if count]
    texts = plot_names(classes)
    groups = list(by_student_and_teacher(rows))[:PANELS]
    with _panels(path, len(groups), 4.2, names=classes) as (drawing, panels):
        for axes, (pair, group) in zip(panels, groups, strict=True):
            for k, row in enumerate(group):
                x = np.arange(len(classes)) + 0.7 * ((k + 0.5) / len(group) - 0.5)
                keys = [f"ap50_95 {name}" for name in classes]
                spread = [0.0 if isnan(row.spread(key)) else 100 * row.spread(key) for key in keys]
                means = [100 * row.mean(key) for key in keys]
                colour = line_style(k)["color"]
                axes.errorbar(
                    x,
                    means,
                    spread,
                    fmt="osD^v"[k // 7 % 5],
                    color=colour,
                    label=plot_text(row.arm),
                    capsize=2,
                )
            ticks = [f"{text}\n{labels[name]} boxes" for name, text in zip(classes, texts, strict=True)]
            axes.set_xticks(range(len(classes)), ticks)
            axes.set_title(f"AP50-95 by class, points: {_title(pair)}")
            for x in np.arange(len(classes) - 1) + 0.5:
                axes.axvline(x, color=GRID, linewidth=1)
            axes.grid(visible=False, axis="x")
        _legend(drawing, panels)
    return path


@contextmanager
def _panels(
    path: Path, count: int, side: float, names: Sequence[str] = ()
) -> Iterator[tuple[Any, Sequence[Any]]]:
    """A figure of ``count`` panels, at most three in a row, with space for a legend."""
    columns = min(3, count)
    lines = -(-count // columns)
    with image_figure(path, (max(7.0, side * 1.3 * columns) + 1.8, side * lines), names=names) as drawing:
        panels = drawing.subplots(lines, columns, squeeze=False).ravel()
        for axes in panels[count:]:
            axes.set_axis_off()
        yield drawing, panels[:count]


def _legend(drawing: Any, panels: Sequence[Any]) -> None:
    """One legend for all panels: an arm has the same style in each."""
    handles, labels = panels[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside right upper")


def _title(pair: tuple[str, str]) -> str:
    student, teacher = pair
    return plot_text(student if teacher == NO_TEACHER else f"{student} from {teacher}")
