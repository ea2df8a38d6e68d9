"""The scores of a study's teachers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.checkpoints import native
from distill.data.loader import open_datasets
from distill.study.cell import digest_of
from distill.study.formatting import NO_TEACHER
from distill.study.grid import Cell
from distill.study.scoring import evaluate_checkpoint, network_values, score_values
from distill.study.summary import ArmRow, arm_row, with_primary
from distill.teacher import weights_path
from edgestill.errors import ToolchainError
from edgestill.files import read_json, write_json
from edgestill.progress import say

TEACHER = "(the teacher)"


def teacher_rows(cells: Sequence[Cell], split: str, out: Path, primary: Sequence[str] = ()) -> list[ArmRow]:
    """A row for each teacher of some cells, except those that are not checkpoints of this project.

    All are scored at the input size of the first cell, which is that of the table. Scores are cached in
    ``teachers/NAME.json`` by weights, split and input size.
    """
    input_hw = cells[0].recipe.input_hw
    by_teacher = {cell.teacher: cell for cell in cells if cell.teacher != NO_TEACHER}
    scores = {
        name: _score(cell, split, input_hw, teacher_file(out, name)) for name, cell in by_teacher.items()
    }
    return [
        arm_row(name, NO_TEACHER, TEACHER, [with_primary(score, primary)])
        for name, score in scores.items()
        if score
    ]


def teacher_file(out: Path, name: str) -> Path:
    """The file with the scores of a teacher, in the study's folder."""
    return out / "teachers" / f"{name}.json"


def _score(cell: Cell, split: str, input_hw: tuple[int, int], kept: Path) -> dict[str, Any] | None:
    weights = weights_path(cell.recipe.teacher)
    what = {"sha256": digest_of(weights), "split": split, "input_hw": list(input_hw)}
    if kept.is_file():
        score: dict[str, Any] = read_json(kept, hint=f"remove {kept}")
        if what.items() <= score.items():
            return score
    try:
        _, spec, about = native.load(weights)
        accuracy, _ = evaluate_checkpoint(
            weights, open_datasets([Path(path) for path in cell.recipe.data]), split, input_hw
        )
    except ToolchainError as error:
        say(f"the teacher {cell.teacher} has no row in the table: {error.what}")
        return None
    trained = {"epochs": about.get("epoch", 0), "seed": about.get("recipe", {}).get("seed", 0)}
    score = {**what, "model": spec.name, **trained, **score_values(accuracy)}
    score["network"] = network_values(weights, input_hw)
    write_json(kept, score)
    return score
