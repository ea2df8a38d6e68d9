"""Layers that give a student's maps the teacher's number of channels while they train together."""

from __future__ import annotations

from typing import Literal

from torch import nn

from distill.method import StudentTeacherInfo
from edgestill.errors import UsageError

Adapter = Literal["conv1x1", "conv3x3", "identity"]


def align(pair: StudentTeacherInfo, adapter: Adapter, *, bias: bool = True) -> nn.ModuleDict:
    """One adapter a level.

    Args:
        pair: Says the channels on both sides.
        adapter: A convolution of that size, or ``identity`` where both sides are equally wide.
        bias: Whether the convolution has one.

    Raises:
        UsageError: ``identity`` between maps of different widths.
    """
    layers = nn.ModuleDict()
    for level, width in pair.student_channels.items():
        wanted = pair.teacher_channels[level]
        if adapter != "identity":
            kernel = 3 if adapter == "conv3x3" else 1
            layers[level] = nn.Conv2d(width, wanted, kernel, padding=kernel // 2, bias=bias)
        elif width == wanted:
            layers[level] = nn.Identity()
        else:
            raise UsageError(
                f"adapter = identity, but {level} has {width} channels here and {wanted} in the teacher",
                hint="use the method's default adapter, or a teacher of the student's size",
            )
    return layers
