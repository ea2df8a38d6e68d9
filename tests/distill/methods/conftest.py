"""What the tests of single methods share."""

from collections.abc import Callable

import pytest
import torch

from distill.method import NetworkOutputs, StudentTeacherInfo
from edgestill.spec import COCO_ANCHORS_PX, HeadKind

STRIDES = (8, 16, 32)
HW = (64, 96)


@pytest.fixture
def one_level() -> Callable[..., StudentTeacherInfo]:
    """Makes a pair of networks that meet on one level of stride 8: channels here and in the teacher."""

    def make(student: int = 1, teacher: int | None = None, *, nc: int = 3) -> StudentTeacherInfo:
        return StudentTeacherInfo(
            student_channels={"p3": student},
            teacher_channels={"p3": student if teacher is None else teacher},
            strides=(8,),
            anchors_px=(((10, 13), (16, 30), (33, 23)),),
            nc=nc,
            input_hw=(64, 64),
        )

    return make


@pytest.fixture
def make_pair() -> Callable[..., StudentTeacherInfo]:
    """Makes a pair of three levels for images of 64 x 96: its head, channels here and in the teacher."""

    def make(
        head: HeadKind = "coupled", student: int = 6, teacher: int = 6, *, nc: int = 3
    ) -> StudentTeacherInfo:
        return StudentTeacherInfo(
            student_channels=dict.fromkeys(("p3", "p4", "p5"), student),
            teacher_channels=dict.fromkeys(("p3", "p4", "p5"), teacher),
            strides=STRIDES,
            anchors_px=() if head == "dfl" else COCO_ANCHORS_PX,
            nc=nc,
            input_hw=HW,
            head=head,
            teacher_head=head,
        )

    return make


@pytest.fixture
def make_view() -> Callable[..., NetworkOutputs]:
    """Makes what a network of ``make_pair`` might see: its head, a seed, channels; all need gradients."""

    def make(
        head: HeadKind = "coupled", seed: int = 0, channels: int = 6, *, nc: int = 3, batch: int = 2
    ) -> NetworkOutputs:
        random = torch.Generator().manual_seed(seed)
        grids = [(HW[0] // s, HW[1] // s) for s in STRIDES]
        features = {
            level: torch.randn(batch, channels, *grid, generator=random, requires_grad=True)
            for level, grid in zip(("p3", "p4", "p5"), grids, strict=True)
        }
        per_cell, columns = (1, 64 + nc) if head == "dfl" else (3, 5 + nc)
        raw = [torch.randn(batch, per_cell, *g, columns, generator=random, requires_grad=True) for g in grids]
        return NetworkOutputs(features, raw, head)

    return make


@pytest.fixture
def targets() -> torch.Tensor:
    """One box in the first image, three in the second."""
    return torch.tensor(
        [
            [0, 1, 0.3, 0.4, 0.2, 0.3],
            [1, 0, 0.7, 0.6, 0.1, 0.1],
            [1, 2, 0.2, 0.8, 0.3, 0.2],
            [1, 2, 0.5, 0.5, 1.0, 1.0],  # as large as the image: the coarse level's
        ]
    )
