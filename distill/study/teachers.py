"""What the teachers of a study score themselves: how much there was to learn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.checkpoints import native
from distill.data.loader import open_datasets
from distill.study.cell import digest_of
from distill.study.grid import NO_TEACHER, Cell
from distill.study.scoring import look, numbers
from distill.study.summary import Row, row
from distill.teacher import weights_path
from edgestill.errors import ToolchainError
from edgestill.files import read_json, write_json
from edgestill.progress import say

TEACHER = "(the teacher)"


def teacher_rows(cells: Sequence[Cell], split: str, out: Path) -> list[Row]:
    """A row for each teacher of some cells; one that is no detector of this project has none.

    Scores are kept in ``teachers/NAME.json`` and used again for the same weights and split.
    """
    teacher_outputs = {cell.teacher: cell for cell in cells if cell.teacher != NO_TEACHER}
    scores = {
        name: _score(cell, split, out / "teachers" / f"{name}.json") for name, cell in teacher_outputs.items()
    }
    return [row(name, NO_TEACHER, TEACHER, [score]) for name, score in scores.items() if score]


def _score(cell: Cell, split: str, kept: Path) -> dict[str, Any] | None:
    weights = weights_path(cell.recipe.teacher)
    what = {"sha256": digest_of(weights), "split": split}
    if kept.is_file():
        score: dict[str, Any] = read_json(kept, hint=f"remove {kept}")
        if what.items() <= score.items():
            return score
    try:
        _, spec, about = native.load(weights)
        accuracy, _ = look(weights, open_datasets([Path(path) for path in cell.recipe.data]), split)
    except ToolchainError as error:
        say(f"the teacher {cell.teacher} has no row in the table: {error.what}")
        return None
    trained = {"epochs": about.get("epoch", 0), "seed": about.get("recipe", {}).get("seed", 0)}
    score = {**what, "model": spec.name, **trained, **numbers(accuracy)}
    write_json(kept, score)
    return score
