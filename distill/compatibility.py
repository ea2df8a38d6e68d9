"""Checks that the distillation methods of a recipe can compare the student with the teacher.

Feature maps need the same strides only; classes and head may differ. Predictions are compared column by
column, so they also need the same columns (``coupled`` and ``decoupled`` heads have the same ones), the same
classes in the same order, and the same anchors.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from distill.models.frozen import TeacherInfo
from distill.recipe import METHODS
from edgestill.errors import DataError, UsageError
from edgestill.spec import HeadKind, ModelSpec

MAX_CLASSES_SHOWN = 6  # in a message


def check_comparable(methods: Iterable[str], teacher: TeacherInfo, path: Path, student: ModelSpec) -> None:
    """Raise an error if a method cannot compare the two networks.

    Args:
        methods: Names of distillation methods.
        teacher: Properties of the teacher.
        path: Weights of the teacher, for the message.
        student: Contract of the student.

    Raises:
        UsageError: Strides, heads or anchors differ.
        DataError: Classes differ.
    """
    if teacher.strides != student.strides:
        raise UsageError(
            f"the teacher {path} has feature maps at strides {_list(teacher.strides)}, "
            f"the student at {_list(student.strides)}",
            hint="choose a teacher with the same strides, e.g. a YOLO of size n, s, m, l or x",
        )
    for method in methods:
        if METHODS.load(method).INPUTS == "predictions":
            _check_predictions(method, teacher, path, student)


def _check_predictions(method: str, teacher: TeacherInfo, path: Path, student: ModelSpec) -> None:
    subject = f"{method} compares predictions, and the teacher {path}"
    if _columns(teacher.head) != _columns(student.head):
        raise UsageError(
            f"{subject} has {_described(teacher.head)}, the student {_described(student.head)}",
            hint=f"{f'--set student.head={teacher.head}, or ' if teacher.head else ''}{_feature_hint()}",
        )
    if teacher.classes != student.classes:
        theirs, ours = (_list(names[:MAX_CLASSES_SHOWN]) for names in (teacher.classes, student.classes))
        raise DataError(
            f"{subject} has {len(teacher.classes)} classes ({theirs}); the data has {student.nc} ({ours})",
            hint="train a teacher on this data first: edgestill distill traffic-lights-teacher, or "
            + _feature_hint(),
        )
    if teacher.anchors_px != student.anchors_px:
        anchors = [list(map(list, level)) for level in teacher.anchors_px]
        raise UsageError(
            f"{subject} has anchors that differ from the student's",
            hint=f"--set 'student.anchors_px={anchors}' --set student.auto_anchor=false, or "
            + _feature_hint(),
        )


def _columns(head: HeadKind | None) -> str | None:
    """Key of the column layout: equal for heads whose columns have the same meaning."""
    return "anchors" if head in {"coupled", "decoupled"} else head


def _described(head: HeadKind | None) -> str:
    return f"a {head} head" if head else "a head whose boxes cannot be compared"


def _feature_hint() -> str:
    """Hint that lists the feature methods, which do not compare predictions."""
    names = [name for name in METHODS.names() if METHODS.load(name).INPUTS == "features"]
    return f"use a method that compares features: {', '.join(names)}"


def _list(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))
