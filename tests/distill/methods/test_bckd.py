"""BCKD: probabilities as products, the formula by hand for one prediction, and who counts."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods import bckd
from distill.methods._regions import anchor_assigned
from edgestill.spec import COCO_ANCHORS_PX, HeadKind

STRIDES = (8, 16, 32)
HW = (64, 96)
NC = 3
NO_TARGETS = torch.zeros(0, 6)
SMALL = torch.tensor([[0, 1, 0.5, 0.5, 0.1, 0.2]])  # 10 x 13 pixels: anchors of the fine level alone fit
TARGETS = torch.cat((SMALL, torch.tensor([[1, 0, 0.5, 0.5, 0.9, 0.9]])))


def pair(head: HeadKind = "coupled") -> StudentTeacherInfo:
    return StudentTeacherInfo(
        student_channels={},
        teacher_channels={},
        strides=STRIDES,
        anchors_px=() if head == "dfl" else COCO_ANCHORS_PX,
        nc=NC,
        input_hw=HW,
        head=head,
        teacher_head=head,
    )


def view(seed: int, head: HeadKind = "coupled") -> NetworkOutputs:
    random = torch.Generator().manual_seed(seed)
    shape = (1, 64 + NC) if head == "dfl" else (3, 5 + NC)
    raw = [
        torch.randn(2, shape[0], HW[0] // s, HW[1] // s, shape[1], generator=random, requires_grad=True)
        for s in STRIDES
    ]
    return NetworkOutputs({}, raw, head)


def terms(
    student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor, **settings: Any
) -> dict[str, Tensor]:
    assert student.head is not None
    return bckd.Loss(bckd.Config(**settings), pair(student.head))(student, teacher, targets)


# --- probabilities


def test_a_class_has_the_product_of_objectness_and_class() -> None:
    level = 4 * view(0).raw[0].detach()
    wanted = level[..., 4:5].sigmoid() * level[..., 5:].sigmoid()
    torch.testing.assert_close(bckd.class_logits(level, "coupled").sigmoid(), wanted)


def test_extreme_objectness_and_classes_stay_finite() -> None:
    level = torch.tensor([[0, 0, 0, 0, o, c] for o in (-200.0, 0.0, 200.0) for c in (-200.0, 0.0, 200.0)])
    level.requires_grad_()
    logits = bckd.class_logits(level.view(1, 1, 3, 3, 6), "coupled")
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert level.grad is not None
    assert torch.isfinite(level.grad).all()


def test_without_objectness_classes_are_taken_as_they_are() -> None:
    level = view(0, "dfl").raw[0]
    assert torch.equal(bckd.class_logits(level, "dfl"), level[..., 64:])


# --- the terms


def one(*columns: float) -> Tensor:
    """A raw map of one cell of one anchor and one class: tx, ty, tw, th, objectness, class."""
    return torch.tensor(columns).view(1, 1, 1, 1, 6)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_classes_cost_what_the_formula_says(beta: float) -> None:
    sure = 50.0  # objectness: the class logit alone decides
    q, p = 0.3, 0.8
    student, teacher = (one(0, 0, 0, 0, sure, log(x / (1 - x))) for x in (q, p))
    cls, loc = bckd.disagreement(student, teacher, "coupled", 8, [(8, 8)], beta=beta)
    cross = -(p * log(q) + (1 - p) * log(1 - q))
    assert float(cls) == pytest.approx(0.5**beta * cross, rel=1e-5)
    assert float(loc) == pytest.approx(0, abs=1e-6)


def test_boxes_cost_their_giou_times_the_largest_difference_of_a_class() -> None:
    logit = {x: log(x / (1 - x)) for x in (0.3, 0.8)}
    far = 50.0  # sigmoid 1: a centre one and a half cells on
    student, teacher = one(0, 0, 0, 0, 50.0, logit[0.3]), one(far, 0, 0, 0, 50.0, logit[0.8])
    _, loc = bckd.disagreement(student, teacher, "coupled", 8, [(8, 8)], beta=1.0)
    # Two squares of 8 px, 8 px apart from centre to centre: they touch, and fill their hull.
    assert float(loc) == pytest.approx(0.5 * 1.0, rel=1e-4)
    _, loc = bckd.disagreement(student, teacher, "coupled", 8, [(4, 4)], beta=1.0)
    # Squares of 4 px: of a hull of 12 x 4 px, 16 are empty.
    assert float(loc) == pytest.approx(0.5 * (1 + 16 / 48), rel=1e-4)


def test_the_classes_weight_of_a_box_has_no_gradient_and_that_of_a_class_has() -> None:
    student = one(0.3, 0.1, 0.2, 0, 1.0, 0.5).requires_grad_()
    teacher = one(0, 0, 0, 0, 2.0, 2.0)
    cls, loc = bckd.disagreement(student, teacher, "coupled", 8, [(8, 8)], beta=1.0)
    (of_loc,) = torch.autograd.grad(loc, student, retain_graph=True)
    assert of_loc[..., :4].any()
    assert not of_loc[..., 4:].any()
    (of_cls,) = torch.autograd.grad(cls, student)
    ours, wanted = (bckd.class_logits(m.detach(), "coupled") for m in (student, teacher))
    with_gradient = ours.clone().requires_grad_()
    p = wanted.sigmoid()
    q = with_gradient.sigmoid()
    ((p - q).abs() * -(p * q.log() + (1 - p) * (1 - q).log())).sum().backward()
    assert with_gradient.grad is not None
    by_class = (1 - student[..., 5].sigmoid()) / (
        1 - q.detach().view(())
    )  # d logit of product / d class logit
    torch.testing.assert_close(of_cls[..., 5], (with_gradient.grad.view(()) * by_class).detach())


@pytest.mark.parametrize("head", ["coupled", "dfl"])
def test_equal_sides_cost_and_move_nothing(head: HeadKind) -> None:
    student = view(0, head)
    values = terms(student, view(0, head), TARGETS)
    torch.stack(list(values.values())).sum().backward()
    assert all(float(value.detach()) == pytest.approx(0, abs=1e-6) for value in values.values())
    assert all(level.grad is not None and level.grad.abs().max() < 1e-5 for level in student.raw)


@pytest.mark.parametrize("head", ["coupled", "dfl"])
def test_both_terms_move_the_student_alone(head: HeadKind) -> None:
    student, teacher = view(0, head), view(1, head)
    for value in terms(student, teacher, TARGETS).values():
        for level in student.raw:
            level.grad = None
        value.backward()
        assert any(level.grad is not None and level.grad.any() for level in student.raw)
    assert all(level.grad is None for level in teacher.raw)


# --- who counts


@pytest.mark.parametrize("head", ["coupled", "dfl"])
def test_without_objects_there_is_nothing_to_learn(head: HeadKind) -> None:
    student = view(0, head)
    values = terms(student, view(1, head), NO_TARGETS)
    torch.stack(list(values.values())).sum().backward()
    assert all(float(value.detach()) == 0 for value in values.values())
    assert all(level.grad is not None and not level.grad.any() for level in student.raw)


def test_levels_without_objects_are_left_out() -> None:
    student = view(0)
    torch.stack(list(terms(student, view(1), SMALL).values())).sum().backward()
    moved = [bool(level.grad is not None and level.grad.any()) for level in student.raw]
    assert moved == [True, False, False]


def test_terms_are_divided_by_the_predictions_that_answer() -> None:
    student, teacher = view(0), view(1)
    grids = [(HW[0] // s, HW[1] // s) for s in STRIDES]
    answers = [
        int(m.sum()) for m in anchor_assigned(TARGETS, 2, grids, COCO_ANCHORS_PX, STRIDES, anchor_t=4.0)
    ]
    assert all(answers)
    sums = [
        bckd.disagreement(s, t, "coupled", stride, anchors, beta=1.0)
        for s, t, stride, anchors in zip(student.raw, teacher.raw, STRIDES, COCO_ANCHORS_PX, strict=True)
    ]
    values = terms(student, teacher, TARGETS)
    torch.testing.assert_close(values["cls"], torch.stack([s[0] for s in sums]).sum() / sum(answers))
    torch.testing.assert_close(values["loc"], 4 * torch.stack([s[1] for s in sums]).sum() / sum(answers))
