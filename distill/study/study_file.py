"""Reads the TOML file of a study: its settings and its cells."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from distill.recipe_toml import build, override, read_recipe, read_toml, split_setting
from distill.study.formatting import POINTS
from distill.study.grid import CONTROLS, Cell, Study, known_arms, make_cells, merged
from distill.study.paper import check_paper
from distill.study.sweep import NAME, check_sweep, dotted
from edgestill.errors import UsageError, unknown_name

FOLDER = Path(__file__).parent.parent / "studies"


def study_names() -> list[str]:
    """The studies that ship with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_study(
    name: str, settings: Sequence[str] = (), data: Sequence[str] = (), against: Sequence[str] = ()
) -> tuple[str, Study, list[Cell]]:
    """Read a study.

    Args:
        name: A shipped study, or a TOML file.
        settings: ``key=value``; a key of a study (``seeds``, ``arms``, ``arm.X``, ``teachers.X``, ``sweep.X``
            with a dotted key of the recipe, in quotes or not) changes the study, any other one the recipe of
            all arms.
        data: ``data.yaml`` files that replace the recipe's.
        against: Additional reference arms.

    Returns:
        Its name, the study, and its cells ordered by seed, so that a table is complete after each seed.

    Raises:
        UsageError: There is no such study, or it or one of its recipes is invalid.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = FOLDER / f"{name}.toml"
        if not path.is_file():
            raise unknown_name("study", name, study_names())
    table = read_toml(path, f"shipped studies: {', '.join(study_names())}")
    keys = {f.name for f in fields(Study)}
    own = [setting for setting in settings if split_setting(setting)[0][0] in keys]
    for setting in own:
        override(table, setting)
    if isinstance(table.get("sweep"), dict):
        table["sweep"] = dotted(table["sweep"])
    study = build(Study, table, "study")
    study = replace(study, against=_references(study, against))
    base = _base(study, [s for s in settings if s not in own], data)
    _check(study)
    return path.stem, study, make_cells(study, base)


def select(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """The cells of some arms; an arm's name stands for all its values of a sweep."""
    arms = list(dict.fromkeys(cell.arm for cell in cells))
    plain = {arm.partition(" ")[0] for arm in arms}
    for name in only:
        if name not in arms and name not in plain:
            raise unknown_name("arm", name, [*arms, *plain])
    return [cell for cell in cells if not only or {cell.arm, cell.arm.partition(" ")[0]} & set(only)]


def _base(study: Study, settings: Sequence[str], data: Sequence[str]) -> dict[str, Any]:
    """The recipe that all arms start from, as a table."""
    if not isinstance(study.recipe, (str, dict)):
        raise UsageError(
            f"recipe = {study.recipe!r} in the study", hint="a recipe's name, or a table [recipe]"
        )
    table = read_recipe(study.recipe)[1] if isinstance(study.recipe, str) else deepcopy(study.recipe)
    table = merged(table, study.settings)
    for setting in settings:
        override(table, setting)
    if data:
        table["data"] = list(data)
    if study.weights == "last":
        table["patience"] = 0  # all arms train for the same number of epochs
    return table


def _check(study: Study) -> None:
    """Refuse studies with an empty or ambiguous table."""
    for key in ("seeds", "arms"):
        values = getattr(study, key)
        if not values or len(set(values)) < len(values):
            raise UsageError(f"{key} = {list(values)} in the study", hint="one or more, all different")
    if not 0 < study.effect <= POINTS:
        raise UsageError(f"effect = {study.effect} in the study", hint="points of mAP, above 0 and up to 100")
    for name in study.arm:
        if name in CONTROLS:
            raise UsageError(f"[arm.{name}] in the study", hint=f"{name} is a fixed arm: choose another name")
    for name in (*study.arms, *study.teachers, *study.students):
        if not NAME.fullmatch(name):
            raise UsageError(
                f"the name {name!r} in the study", hint="letters, digits, and . _ + - behind them"
            )
    for student, teacher in study.pairs:
        for kind, name, names in (("student", student, study.students), ("teacher", teacher, study.teachers)):
            if name not in names:
                raise unknown_name(f"{kind} of this study", name, names)
    check_sweep(study.sweep)
    for table in study.paper:
        check_paper(table)


def _references(study: Study, additional: Sequence[str]) -> tuple[str, ...]:
    """The reference arms: those of the study that are among its arms, and the additional ones."""
    for name in additional:
        if name not in study.arms:
            raise unknown_name("arm of this study", name, study.arms)
    for name in study.against:
        if name not in known_arms(study):
            raise unknown_name("arm", name, known_arms(study))
    return tuple(dict.fromkeys(name for name in (*study.against, *additional) if name in study.arms))
