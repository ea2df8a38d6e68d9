"""Adapter layers from the student's to the teacher's number of channels; used in training only."""

from __future__ import annotations

from typing import Literal

from torch import nn

from distill.method import StudentTeacherInfo
from edgestill.errors import UsageError

Adapter = Literal["conv1x1", "conv3x3", "identity"]


def align(info: StudentTeacherInfo, adapter: Adapter, *, bias: bool = True) -> nn.ModuleDict:
    """One adapter for each level.

    Args:
        info: Channels of student and teacher.
        adapter: Kernel size of the convolution, or ``identity`` if both have the same channels.
        bias: Whether the convolution has a bias.

    Raises:
        UsageError: ``identity`` with different numbers of channels.
    """
    layers = nn.ModuleDict()
    for level, width in info.student_channels.items():
        wanted = info.teacher_channels[level]
        if adapter != "identity":
            kernel = 3 if adapter == "conv3x3" else 1
            layers[level] = nn.Conv2d(width, wanted, kernel, padding=kernel // 2, bias=bias)
        elif width == wanted:
            layers[level] = nn.Identity()
        else:
            raise UsageError(
                f"adapter = identity, but {level} has {width} channels, and {wanted} in the teacher",
                hint="use the default adapter, or a teacher of the student's size",
            )
    return layers
