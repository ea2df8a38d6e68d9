"""What a distillation method sees of the two networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Facts about a student and its teacher that a method builds itself from.

    Attributes:
        student_channels: Channels of the student's maps, by level ``p3``, ``p4``, ``p5``.
        teacher_channels: Channels of the teacher's maps, by level.
        strides: Input pixels per cell, by level.
        anchors_px: Anchor width and height in input pixels, by level; the same for both.
        nc: Number of classes; the same for both.
        input_hw: Height and width of the training images, pixels.
    """

    student_channels: Mapping[str, int]
    teacher_channels: Mapping[str, int]
    strides: Sequence[int]
    anchors_px: Sequence[Sequence[tuple[float, float]]]
    nc: int
    input_hw: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What one network made of a batch, in float32.

    Attributes:
        features: Neck maps ``[B, C, h, w]`` by level ``p3``, ``p4``, ``p5``.
        raw: Raw head maps ``[B, anchors, h, w, 5 + nc]`` by level: tx, ty, tw, th, objectness, class logits.
    """

    features: Mapping[str, Tensor]
    raw: Sequence[Tensor]
