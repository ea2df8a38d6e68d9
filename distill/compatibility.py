"""Whether a method can compare a student with a teacher, in one place.

Maps of features need the same strides, nothing else: the number of classes, their names and the head may
differ. Predictions are compared column by column, so they need the same columns (``coupled`` and
``decoupled`` heads have the same ones), the same classes in the same order, and the same anchors.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from distill.models.frozen import Facts
from distill.recipe import METHODS
from edgestill.errors import DataError, UsageError
from edgestill.spec import Head, ModelSpec

SHOWN = 6  # class names in a message


def check_comparable(methods: Iterable[str], teacher: Facts, path: Path, student: ModelSpec) -> None:
    """Refuse a teacher that one of the methods cannot compare the student with.

    Args:
        methods: Names of distillation methods.
        teacher: The teacher.
        path: Its weights, for the message.
        student: The student's contract.

    Raises:
        UsageError: Strides, heads or anchors differ.
        DataError: Classes differ.
    """
    if teacher.strides != student.strides:
        raise UsageError(
            f"the teacher {path} has maps at strides {_list(teacher.strides)}, "
            f"the student at {_list(student.strides)}",
            hint="choose a teacher with the student's strides: most detectors named n, s, m, l or x",
        )
    for method in methods:
        if METHODS.load(method).INPUTS == "predictions":
            _check_predictions(method, teacher, path, student)


def _check_predictions(method: str, teacher: Facts, path: Path, student: ModelSpec) -> None:
    who = f"{method} compares predictions, and the teacher {path}"
    if _columns(teacher.head) != _columns(student.head):
        raise UsageError(
            f"{who} has {_described(teacher.head)}, the student {_described(student.head)}",
            hint=f"{f'--set student.head={teacher.head}, or ' if teacher.head else ''}{_by_features()}",
        )
    if teacher.classes != student.classes:
        raise DataError(
            f"{who} has {len(teacher.classes)} classes ({_list(teacher.classes[:SHOWN])}); the data has "
            f"{student.nc} ({_list(student.classes[:SHOWN])})",
            hint="train a teacher on this data first: edgestill distill traffic-lights-teacher, or "
            + _by_features(),
        )
    if teacher.anchors_px != student.anchors_px:
        anchors = [list(map(list, level)) for level in teacher.anchors_px]
        raise UsageError(
            f"{who} has other anchors than the student",
            hint=f"--set 'student.anchors_px={anchors}' --set student.auto_anchor=false, or {_by_features()}",
        )


def _columns(head: Head | None) -> str | None:
    """What tells whether two heads' columns mean the same."""
    return "anchors" if head in {"coupled", "decoupled"} else head


def _described(head: Head | None) -> str:
    return f"a {head} head" if head else "a head of which only the class scores can be compared"


def _by_features() -> str:
    """The way out that is always open."""
    able = [name for name in METHODS.names() if METHODS.load(name).INPUTS == "features"]
    return f"distil by features: {', '.join(able)}"


def _list(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))
