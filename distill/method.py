"""What a distillation method sees of the two networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from edgestill.spec import Head

#: What a method reads of the teacher: ``features`` (and how sure it is of a cell), which any teacher with the
#: same strides has; or ``predictions``, which take a head with the student's columns, classes and anchors.
MethodInputs = Literal["features", "predictions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentTeacherInfo:
    """Facts about a student and its teacher that a method builds itself from.

    Attributes:
        student_channels: Channels of the student's maps, by level ``p3``, ``p4``, ``p5``.
        teacher_channels: Channels of the teacher's maps, by level.
        strides: Input pixels per cell, by level.
        anchors_px: Anchor width and height in input pixels, by level; empty for anchor-free students.
        nc: Number of the student's classes.
        input_hw: Height and width of the training images, pixels.
        head: The student's kind of head.
        teacher_head: The teacher's; None where its raw maps hold class logits alone.
    """

    student_channels: Mapping[str, int]
    teacher_channels: Mapping[str, int]
    strides: Sequence[int]
    anchors_px: Sequence[Sequence[tuple[float, float]]]
    nc: int
    input_hw: tuple[int, int]
    head: Head = "coupled"
    teacher_head: Head | None = "coupled"


class FeaturesInFloat32(Mapping[str, Tensor]):
    """Maps that are brought to float32 when somebody asks for them, once: that is a pass over all of them.

    Args:
        native: ``[B, C, h, w]`` by level, in the format that the network computed in.
    """

    def __init__(self, native: Mapping[str, Tensor]) -> None:
        self.native = native
        self._wide: dict[str, Tensor] = {}

    def __getitem__(self, level: str) -> Tensor:
        if level not in self._wide:
            self._wide[level] = self.native[level].float()
        return self._wide[level]

    def __iter__(self) -> Iterator[str]:
        return iter(self.native)

    def __len__(self) -> int:
        return len(self.native)


@dataclass(frozen=True, slots=True, eq=False)
class NetworkOutputs:
    """What one network made of a batch; in float32 where a method sees it.

    Attributes:
        features: Neck maps ``[B, C, h, w]`` by level ``p3``, ``p4``, ``p5``.
        raw: Raw head maps ``[B, A, h, w, columns]`` by level; ``distill.models.head_outputs`` takes them
            apart.
        head: What the columns are: of an anchor head tx, ty, tw, th, objectness, class logits; of ``dfl``
            4 x 16 logits of the distances left, top, right, bottom, then class logits, with A = 1; of None
            class logits alone.
    """

    features: Mapping[str, Tensor]
    raw: Sequence[Tensor]
    head: Head | None = "coupled"

    def in_float32(self) -> NetworkOutputs:
        """The same numbers in float32."""
        return NetworkOutputs(
            FeaturesInFloat32(self.features), [level.float() for level in self.raw], self.head
        )

    @property
    def native(self) -> Mapping[str, Tensor]:
        """``features`` as the network computed them, for a method that widens them on its way."""
        return self.features.native if isinstance(self.features, FeaturesInFloat32) else self.features

    def rolled(self) -> NetworkOutputs:
        """Every image's maps handed to the next image of the batch, the last one's to the first."""
        features = {level: feature.roll(1, 0) for level, feature in self.features.items()}
        return NetworkOutputs(features, [level.roll(1, 0) for level in self.raw], self.head)


@runtime_checkable
class Progressive(Protocol):
    """A method's loss that changes while the training goes on, e.g. in its temperature."""

    def set_progress(self, done: float) -> None:
        """Called before every epoch with the fraction of the epochs that is done."""
