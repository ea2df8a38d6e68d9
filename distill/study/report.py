"""The output of a study: tables, plots, ``study.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.plots.training import MAX_NAMED
from distill.study.grid import Cell, Study
from distill.study.paper import paper_text, paper_values
from distill.study.plots import plot_arms, plot_classes, plot_learning
from distill.study.process import LOCK
from distill.study.run import finished_cells
from distill.study.summary import ArmRow, Scored, arm_rows, compare, with_primary
from distill.study.table import arm_row_values, cell_values, markdown, test_values, write_tables
from distill.study.teachers import teacher_file, teacher_rows
from edgestill.files import write_json
from edgestill.plotting import optional_plots

RESULT = "study.json"


def report(
    name: str, study: Study, cells: Sequence[Cell], out: Path, failed: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Write the tables and plots of the finished cells.

    Args:
        name: The study's.
        study: Its settings.
        cells: All of them, in order.
        out: The study's folder.
        failed: Errors of cells by label.

    Returns:
        The content of ``study.json``.
    """
    scored = [(cell, with_primary(score, study.primary)) for cell, score in finished_cells(study, cells, out)]
    result: dict[str, Any] = {
        "study": name,
        "out": str(out),
        "split": scored[0][1]["split"] if scored else study.split,
        "weights": study.weights,
        "cells": len(cells),
        "finished": len(scored),
        "failed": dict(failed),
        "rows": [],
        "tests": [],
        "paper": [],
        "files": [],
    }
    tables: list[Path] = []
    if scored:
        rows = arm_rows(scored)
        comparisons = compare(scored, out, study)
        teachers = teacher_rows([cell for cell, _ in scored], result["split"], out, study.primary)
        lines = [*teachers, *rows]
        text = markdown(name, study, scored, lines, comparisons) + paper_text(study.paper, lines)
        paper = paper_values(study.paper, lines)
        written = write_tables(out, text, scored, lines, comparisons, paper=paper)
        tables = [*written, *_plots(study, scored, rows, out)]
        result |= {
            "rows": [arm_row_values(row) for row in lines],
            "tests": [test_values(one) for one in comparisons],
            "paper": paper,
        }
    result["files"] = [str(path) for path in (out / RESULT, *tables, *_other_files(cells, out))]
    write_json(out / RESULT, {**result, "settings": study, "scores": [cell_values(one) for one in scored]})
    return result


def _other_files(cells: Sequence[Cell], out: Path) -> list[Path]:
    """The files of the cells, of their teachers, and the lock."""
    folders = [out / cell.folder for cell in cells]
    names = {cell.teacher for cell in cells}
    found = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    others = {out / LOCK, *(teacher_file(out, name) for name in names)}
    return sorted(found | {path for path in others if path.is_file()})


def _plots(study: Study, scored: Sequence[Scored], rows: Sequence[ArmRow], out: Path) -> list[Path]:
    """Draw the plots; none if matplotlib is not installed."""
    labels = {name: entry["labels"] for name, entry in scored[0][1]["per_class"].items()}
    drawn: list[Path] = []
    with optional_plots("plots"):
        drawn.append(plot_arms(out / "arms.png", rows, study.against[0] if study.against else ""))
        drawn.append(plot_learning(out / "learning.png", [cell for cell, _ in scored], out))
        if len(labels) <= MAX_NAMED:
            drawn.append(plot_classes(out / "classes.png", rows, labels))
    return drawn
