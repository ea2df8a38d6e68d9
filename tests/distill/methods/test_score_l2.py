"""What ``ultralytics`` ships: the same loss, weights and projector, for every head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods import score_l2
from distill.models.head_outputs import split_columns

NO_TARGETS = torch.zeros(0, 6)
HEADS = ("coupled", "decoupled", "dfl")
MakeView = Callable[..., NetworkOutputs]
MakePair = Callable[..., StudentTeacherInfo]


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def test_it_is_the_packages_loss(make_view: MakeView, make_pair: MakePair) -> None:
    package = pytest.importorskip("ultralytics.nn.distill_model")
    torch.manual_seed(0)
    student, teacher = make_view("dfl", 0, 4), make_view("dfl", 1, 6)
    loss = score_l2.Loss(score_l2.Config(), make_pair("dfl", 4, 6))
    scores = [
        split_columns(level, "dfl").cls.flatten(1, 3).mT for level in teacher.raw
    ]  # [B, nc, cells] as there
    weights = tuple(s.sigmoid().max(dim=1, keepdim=True).values for s in scores)
    wanted = sum(
        package.DistillationModel.loss_sl2(
            None, loss.project[level](student.features[level]), teacher.features[level], i, weights
        )
        for i, level in enumerate(("p3", "p4", "p5"))
    )
    torch.testing.assert_close(total(loss(student, teacher, NO_TARGETS)), 6 * wanted, rtol=1e-6, atol=0)


def test_the_projector_is_the_packages() -> None:
    pair = StudentTeacherInfo(
        student_channels={"p3": 64, "p4": 128, "p5": 256},
        teacher_channels={"p3": 128, "p4": 256, "p5": 512},
        strides=(8, 16, 32),
        anchors_px=(),
        nc=80,
        input_hw=(640, 640),
        head="dfl",
    )
    # Counted in the package for the same pair, YOLOv5n from YOLOv5s.
    assert sum(p.numel() for p in score_l2.projectors(pair).parameters()) == 517_888


@pytest.mark.parametrize("head", HEADS)
def test_only_cells_count_where_the_teacher_is_sure(
    head: Any, make_view: MakeView, make_pair: MakePair
) -> None:
    student, teacher = make_view(head, 0), make_view(head, 1)
    for level in teacher.raw:
        level.data[..., :] = -60.0
        level.data[:, :, 1, 0] = 60.0  # row 1, column 0
    loss = score_l2.Loss(score_l2.Config(adapter="identity"), make_pair(head))
    value = total(loss(student, teacher, NO_TARGETS))
    differences = [student.features[k] - teacher.features[k] for k in student.features]
    wanted = sum(d[:, :, 1, 0].square().mean() for d in differences)
    torch.testing.assert_close(value, 6 * wanted)


def test_objectness_counts_where_there_is_one(make_view: MakeView, make_pair: MakePair) -> None:
    student, teacher = make_view("coupled", 0), make_view("coupled", 1)
    for level in teacher.raw:
        level.data[..., 5:] = 60.0  # sure of the class everywhere
        level.data[..., 4] = -60.0
        level.data[:, 2, 1, 0, 4] = 60.0  # one anchor sees an object
    loss = score_l2.Loss(score_l2.Config(adapter="identity"), make_pair("coupled"))
    differences = [student.features[k] - teacher.features[k] for k in student.features]
    wanted = sum(d[:, :, 1, 0].square().mean() for d in differences)
    torch.testing.assert_close(total(loss(student, teacher, NO_TARGETS)), 6 * wanted)


def test_a_teacher_that_gives_class_logits_alone_will_do(make_view: MakeView, make_pair: MakePair) -> None:
    student, teacher = make_view("coupled", 0), make_view("coupled", 1)
    alone = NetworkOutputs(teacher.features, [level[:, :1, ..., 5:].detach() for level in teacher.raw], None)
    loss = score_l2.Loss(score_l2.Config(), make_pair("coupled"))
    assert torch.isfinite(total(loss(student, alone, NO_TARGETS)))


def test_a_teacher_that_sees_nothing_at_all_gives_a_finite_loss(
    make_view: MakeView, make_pair: MakePair
) -> None:
    student, teacher = make_view("dfl", 0), make_view("dfl", 1)
    for level in teacher.raw:
        level.data[..., 64:] = -200.0  # a sigmoid of exactly 0
    value = total(
        score_l2.Loss(score_l2.Config(adapter="identity"), make_pair("dfl"))(student, teacher, NO_TARGETS)
    )
    value.backward()
    assert float(value.detach()) == 0.0


def test_labels_play_no_part(make_view: MakeView, make_pair: MakePair, targets: Tensor) -> None:
    student, teacher = make_view("coupled", 0), make_view("coupled", 1)
    loss = score_l2.Loss(score_l2.Config(), make_pair("coupled"))
    torch.testing.assert_close(
        total(loss(student, teacher, targets)), total(loss(student, teacher, NO_TARGETS)), rtol=0, atol=0
    )


def test_it_grows_with_the_square_of_the_difference(make_view: MakeView, make_pair: MakePair) -> None:
    teacher = make_view("coupled", 1)
    near, far = (
        NetworkOutputs({k: v + d for k, v in teacher.features.items()}, teacher.raw) for d in (0.5, 1.5)
    )
    loss = score_l2.Loss(score_l2.Config(adapter="identity"), make_pair("coupled"))
    torch.testing.assert_close(
        total(loss(far, teacher, NO_TARGETS)), 9 * total(loss(near, teacher, NO_TARGETS)), rtol=1e-4, atol=0
    )
