"""A study: a set of trainings described by one TOML file.

A study names a base recipe and its variations: arms, teachers, students, seeds, and any key of the recipe in
``[sweep]``. Later settings win: the recipe, ``[settings]``, the command line, teacher and student, the arm,
the sweep, the seed. Some arms need no definition: see ``CONTROLS``, and every distillation method by its name
with its defaults. An arm without methods needs no teacher and is trained once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from distill.recipe import METHODS, Recipe
from distill.recipe_toml import build_recipe
from distill.study.formatting import NO_TEACHER
from distill.study.paper import PaperTable
from distill.study.sweep import NAME, applies, put, short_text
from edgestill.errors import UsageError, unknown_name

#: The control arms, as settings of the recipe.
CONTROLS: Mapping[str, Mapping[str, Any]] = {
    "none": {"methods": {}},
    "default": {},  # the recipe's own methods
    "random-teacher": {"teaching": "random"},  # by the recipe's own methods
    "shuffled-teacher": {"teaching": "shuffled"},
}

Weights = Literal["last", "best"]


class StudentTeacher(Protocol):
    """An object with a student and a teacher."""

    @property
    def student(self) -> str:
        """The student's name."""

    @property
    def teacher(self) -> str:
        """The teacher's; ``-`` without one."""


S = TypeVar("S", bound=StudentTeacher)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The content of a study's file.

    Attributes:
        recipe: The base: a shipped recipe's name or a file, or a whole recipe as a table.
        seeds: Of the trainings of each cell.
        arms: By name, in the table's order.
        arm: Settings of the recipe by arm; ``methods`` there replaces the recipe's.
        teachers: Weights by the name in the table; empty for the recipe's one teacher.
        students: Architecture, or a table ``[student]``, by name; empty for the recipe's one student.
        pairs: Students and teachers that are trained together; empty for all combinations.
        settings: Settings of the recipe for all arms.
        sweep: Values by key of the recipe, dotted or as nested tables; ``methods.X.*`` applies to the arms
            with method X.
        against: Reference arms that every other arm is compared with.
        split: The reported split; ``auto`` is ``test`` where the data has one, else ``val``.
        weights: The reported averaged weights: of the ``last`` epoch, which avoids selection on a small
            validation split, or of the ``best`` one.
        effect: Smallest difference of interest, points of mAP: the power of the tests is reported for it.
        resamples: Of the test images, for the bootstrap.
        resample: What the bootstrap draws: single ``images``, or ``sequences`` of them, whose images are not
            independent; see ``distill.study.sequences``.
        primary: Classes whose mean AP50-95 is the primary figure; empty for mAP50-95 of all classes.
        paper: Tables of a paper that the study's rows are shown beside.
    """

    recipe: Any
    seeds: tuple[int, ...] = (0, 1, 2)
    arms: tuple[str, ...] = ("none", "random-teacher", "default")
    arm: Mapping[str, Any] = field(default_factory=dict)
    teachers: Mapping[str, Any] = field(default_factory=dict)
    students: Mapping[str, Any] = field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    sweep: Mapping[str, Any] = field(default_factory=dict)
    against: tuple[str, ...] = ("none",)
    split: Literal["auto", "train", "val", "test"] = "auto"
    weights: Weights = "last"
    effect: float = 2.0
    resamples: int = 2000
    resample: Literal["images", "sequences"] = "images"
    primary: tuple[str, ...] = ()
    paper: tuple[PaperTable, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cell:
    """One training of a study.

    Attributes:
        arm: The arm's name, with its values of the sweep.
        teacher: The teacher's name; ``-`` for an arm without methods.
        student: The student's name.
        seed: Of the training.
        table: The recipe, as the table of a TOML file.
        recipe: The same, validated, with all defaults.
    """

    arm: str
    teacher: str
    student: str
    seed: int
    table: Mapping[str, Any]
    recipe: Recipe

    @property
    def pair(self) -> str:
        """Student and teacher, as a folder name."""
        return self.student if self.teacher == NO_TEACHER else f"{self.student}-from-{self.teacher}"

    @property
    def folder(self) -> Path:
        """Its folder, relative to the study's folder."""
        return Path("cells", self.arm.replace(" ", "_"), self.pair, f"seed-{self.seed}")

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"{self.arm}, {self.pair}, seed {self.seed}"


def make_cells(study: Study, base: Mapping[str, Any]) -> list[Cell]:
    """The cells of a study in order; ``base`` is the table of the recipe that all arms start from."""
    made: dict[Path, Cell] = {}
    for seed, (student, shape), (teacher, weights), (arm, change) in product(
        study.seeds, _students(study), _teachers(study, base), _arms(study, base)
    ):
        if study.pairs and (student, teacher) not in study.pairs:
            continue
        table = merged(merged(base, {**shape, **weights}), change)
        table["seed"] = seed
        recipe = build_recipe(arm, table)
        cell = Cell(
            arm=arm,
            teacher=teacher if recipe.methods else NO_TEACHER,
            student=student or recipe.student.model,
            seed=seed,
            table=table,
            recipe=recipe,
        )
        made.setdefault(cell.folder, cell)  # an arm without methods is the same for all teachers
    return list(made.values())


def _students(study: Study) -> list[tuple[str, dict[str, Any]]]:
    if not study.students:
        return [("", {})]  # named by its architecture
    return [
        (name, {"student": {"model": value} if isinstance(value, str) else value})
        for name, value in study.students.items()
    ]


def _teachers(study: Study, base: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    if not study.teachers:
        return [(_teacher_name(str(base.get("teacher", ""))), {})]
    return [(name, {"teacher": value}) for name, value in study.teachers.items()]


def _teacher_name(weights: str) -> str:
    """The name of a teacher without one: that of its run's folder, or of its file."""
    path = Path(weights)
    name = path.parent.name if path.name in {"best", "last"} else path.stem
    return name if NAME.fullmatch(name) else "teacher"


def _arms(study: Study, base: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every arm with every combination of the sweep's values that apply to it."""
    found = []
    for name in study.arms:
        change = _arm(study, base, name)
        methods = merged(base, change).get("methods", {})
        applicable = [key for key in study.sweep if applies(key, methods)]
        for values in product(*(study.sweep[key] for key in applicable)):
            swept: dict[str, Any] = deepcopy(change)
            if any(key.startswith("methods.") for key in applicable):
                swept["methods"] = deepcopy(methods)
            for key, value in zip(applicable, values, strict=True):
                put(swept, key.split("."), value)
            label = [
                f"{key.split('.')[-1]}={short_text(v)}" for key, v in zip(applicable, values, strict=True)
            ]
            found.append((" ".join([name, *label]), swept))
    return found


def _arm(study: Study, base: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings of the recipe that an arm changes."""
    if name in study.arm:
        if not isinstance(study.arm[name], dict):
            raise UsageError(f"arm.{name} = {study.arm[name]!r}", hint=f"[arm.{name}] is a table of settings")
        return dict(study.arm[name])
    if name in CONTROLS:
        if name != "none" and not base.get("methods"):
            raise UsageError(
                f"the arm {name} uses the methods of the recipe, and the recipe has none",
                hint="add methods to [settings], or name a recipe that distils",
            )
        return deepcopy(dict(CONTROLS[name]))
    if name in METHODS.names():
        return {"methods": {name: {}}}
    raise unknown_name("arm", name, known_arms(study))


def known_arms(study: Study) -> list[str]:
    """The arms that a study can have: its own, the controls, every method."""
    return [*study.arm, *CONTROLS, *METHODS.names()]


def merged(table: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """``table`` with the values of ``change``, table by table; ``methods`` is replaced as a whole."""
    result = deepcopy(dict(table))
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict) and key != "methods":
            result[key] = merged(result[key], value)
        else:
            result[key] = deepcopy(value)
    return result


def by_student_and_teacher(cells: Sequence[S]) -> Iterator[tuple[tuple[str, str], list[S]]]:
    """Group by student and teacher; arms without a teacher are in every group of their student."""
    keys = dict.fromkeys((one.student, one.teacher) for one in cells)
    with_teacher = {student for student, teacher in keys if teacher != NO_TEACHER}
    for student, teacher in keys:
        if teacher != NO_TEACHER or student not in with_teacher:
            yield (
                (student, teacher),
                [one for one in cells if one.student == student and one.teacher in {teacher, NO_TEACHER}],
            )
