"""Interface between the networks and the distillation methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from edgestill.spec import HeadKind

#: What a method compares. ``features``: feature maps (and the teacher's class scores); any teacher with the
#: student's strides will do. ``predictions``: raw head outputs; the teacher needs the student's kind of
#: columns, classes and anchors.
MethodInputs = Literal["features", "predictions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentTeacherInfo:
    """Properties of student and teacher from which a method builds its loss.

    Attributes:
        student_channels: Channels of the student's feature maps, by level ``p3``, ``p4``, ``p5``.
        teacher_channels: Channels of the teacher's feature maps, by level.
        strides: Input pixels per cell, by level.
        anchors_px: Anchor width and height in input pixels, by level; empty for anchor-free students.
        nc: Number of classes of the student.
        input_hw: Height and width of the training images, pixels.
        head: Kind of the student's head.
        teacher_head: Kind of the teacher's head; None if its raw maps hold class logits only.
    """

    student_channels: Mapping[str, int]
    teacher_channels: Mapping[str, int]
    strides: Sequence[int]
    anchors_px: Sequence[Sequence[tuple[float, float]]]
    nc: int
    input_hw: tuple[int, int]
    head: HeadKind = "coupled"
    teacher_head: HeadKind | None = "coupled"


class FeaturesInFloat32(Mapping[str, Tensor]):
    """Feature maps that are converted to float32 on first access, because the conversion reads all of them.

    Args:
        native: ``[B, C, h, w]`` by level, in the dtype of the forward pass.
    """

    def __init__(self, native: Mapping[str, Tensor]) -> None:
        self.native = native
        self._float32: dict[str, Tensor] = {}

    def __getitem__(self, level: str) -> Tensor:
        if level not in self._float32:
            self._float32[level] = self.native[level].float()
        return self._float32[level]

    def __iter__(self) -> Iterator[str]:
        return iter(self.native)

    def __len__(self) -> int:
        return len(self.native)


@dataclass(frozen=True, slots=True, eq=False)
class NetworkOutputs:
    """Outputs of one network for a batch; methods get them in float32.

    Attributes:
        features: Feature maps of the neck, ``[B, C, h, w]`` by level ``p3``, ``p4``, ``p5``.
        raw: Raw head maps ``[B, A, h, w, columns]`` by level; see ``distill.models.head_outputs``.
        head: Meaning of the columns. Anchor heads: tx, ty, tw, th, objectness, class logits. ``dfl``: 4 x 16
            logits of the distances left, top, right, bottom, then class logits, with A = 1. None: class
            logits only.
        one_to_one: Class logits of the one-to-one branch of an end-to-end network (YOLOv10, YOLO26), ``[B, 1,
            h, w, nc]`` by level; empty for others. ``raw`` is that of the one-to-many branch.
    """

    features: Mapping[str, Tensor]
    raw: Sequence[Tensor]
    head: HeadKind | None = "coupled"
    one_to_one: Sequence[Tensor] = ()

    def in_float32(self) -> NetworkOutputs:
        """The same outputs in float32."""
        return NetworkOutputs(
            FeaturesInFloat32(self.features),
            [level.float() for level in self.raw],
            self.head,
            [level.float() for level in self.one_to_one],
        )

    @property
    def native(self) -> Mapping[str, Tensor]:
        """``features`` in the dtype of the forward pass, for a method that converts them itself."""
        return self.features.native if isinstance(self.features, FeaturesInFloat32) else self.features

    def rolled(self) -> NetworkOutputs:
        """Outputs rolled by one over the batch: each image gets those of the image before it."""
        features = {level: feature.roll(1, 0) for level, feature in self.features.items()}
        raw, one_to_one = ([level.roll(1, 0) for level in levels] for levels in (self.raw, self.one_to_one))
        return NetworkOutputs(features, raw, self.head, one_to_one)


@runtime_checkable
class FollowsProgress(Protocol):
    """A method loss with a schedule of its own, e.g. of its temperature."""

    def set_progress(self, done: float) -> None:
        """Called before every epoch with the fraction of finished epochs, in [0, 1)."""
