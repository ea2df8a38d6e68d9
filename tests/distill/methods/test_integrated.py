"""Integrated distillation: every reading of the paper, the task weight, the masks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods import integrated
from distill.methods._divergence import bernoulli, categorical
from distill.models.yolov5 import build
from edgestill.errors import UsageError

MakeView = Callable[..., NetworkOutputs]
MakePair = Callable[..., StudentTeacherInfo]
NO_TARGETS = torch.zeros(0, 6)
KINDS = ("l2_raw", "l2_sigmoid", "bernoulli_kl", "box_softmax_kl", "spatial_kl")
FORMULAS = [
    *(("coupled", kind) for kind in KINDS),
    *(("dfl", kind) for kind in ("l2_raw", "box_softmax_kl", "spatial_kl")),
]
Terms = Callable[..., dict[str, Tensor]]


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


@pytest.fixture
def terms(make_view: MakeView, make_pair: MakePair, targets: Tensor) -> Terms:
    def make(head: Any = "coupled", of: Any = None, labels: Tensor = targets, **settings: Any) -> Any:
        loss = integrated.Loss(integrated.Config(**{"weight": 1.0, **settings}), make_pair(head))
        return loss(*(of or (make_view(head, 0), make_view(head, 1))), labels)

    return make


# --- what holds for every reading


@pytest.mark.parametrize(
    ("formula", "share", "obj", "direction"),
    list(
        product(
            FORMULAS, (0.0, 0.3, 1.0), ("cls", "reg", "own", "off"), ("teacher_student", "student_teacher")
        )
    ),
)
def test_equal_sides_cost_nothing(
    formula: Any, share: float, obj: Any, direction: Any, terms: Terms, make_view: MakeView
) -> None:
    head, kind = formula
    both = make_view(head, 0)
    settings = {"reg_loss": kind, "task_weight": share, "obj": obj, "kl_direction": direction}
    assert float(total(terms(head, (both, both), **settings)).detach()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("head", "kind"), FORMULAS)
def test_the_share_of_the_classes_is_all_or_nothing_at_its_ends(
    head: Any, kind: Any, terms: Terms, make_view: MakeView
) -> None:
    boxes = 64 if head == "dfl" else 4
    for share, teacher_outputs, silent in (
        (1.0, slice(boxes, None), slice(0, boxes)),
        (0.0, slice(0, boxes), slice(boxes, None)),
    ):
        sides = make_view(head, 0), make_view(head, 1)
        total(terms(head, sides, reg_loss=kind, task_weight=share)).backward()
        for level in sides[0].raw:
            assert level.grad[..., teacher_outputs].any()
            assert not level.grad[..., silent].any()


@pytest.mark.parametrize(("head", "kind"), FORMULAS)
def test_it_is_linear_in_the_share(head: Any, kind: Any, terms: Terms) -> None:
    boxes, even, classes = (total(terms(head, reg_loss=kind, task_weight=w)) for w in (0.0, 0.25, 1.0))
    torch.testing.assert_close(even, 0.75 * boxes + 0.25 * classes)


@pytest.mark.parametrize(("head", "kind"), FORMULAS)
def test_the_teacher_is_not_taught(head: Any, kind: Any, terms: Terms, make_view: MakeView) -> None:
    sides = make_view(head, 0), make_view(head, 1)
    total(terms(head, sides, reg_loss=kind)).backward()
    assert all(level.grad is None for level in sides[1].raw)


@pytest.mark.parametrize("kind", ["bernoulli_kl", "box_softmax_kl", "spatial_kl"])
def test_the_direction_swaps_the_sides_of_the_boxes_divergence(
    kind: Any, terms: Terms, make_view: MakeView
) -> None:
    student, teacher = make_view("coupled", 0), make_view("coupled", 1)
    there = terms("coupled", (student, teacher), reg_loss=kind)
    back = terms("coupled", (teacher, student), reg_loss=kind, kl_direction="student_teacher")
    torch.testing.assert_close(there["reg"], back["reg"])
    reverse = terms("coupled", (student, teacher), reg_loss=kind, kl_direction="student_teacher")
    assert float(reverse["reg"].detach()) != pytest.approx(float(there["reg"].detach()), rel=1e-4)


# --- each formula


def columns(view: NetworkOutputs, first: int, last: int | None) -> Tensor:
    return torch.cat([level[..., first:last].flatten(0, 3) for level in view.raw])


def test_the_formulas_are_means_over_elements(terms: Terms, make_view: MakeView) -> None:
    sides = make_view("coupled", 0), make_view("coupled", 1)
    s, t = (columns(of, 0, 4) for of in sides)
    wanted = {
        "l2_raw": (s - t).square().mean(),
        "l2_sigmoid": (s.sigmoid() - t.sigmoid()).square().mean(),
        "bernoulli_kl": bernoulli(s, t).mean(),
        "box_softmax_kl": categorical(s, t).mean(),
    }
    for kind, value in wanted.items():
        torch.testing.assert_close(terms("coupled", sides, reg_loss=kind)["reg"], 0.5 * value)


def test_classes_are_compared_by_squared_distance_with_objectness(terms: Terms, make_view: MakeView) -> None:
    sides = make_view("coupled", 0), make_view("coupled", 1)
    both, alone = ((columns(sides[0], f, None) - columns(sides[1], f, None)).square() for f in (4, 5))
    torch.testing.assert_close(terms("coupled", sides)["cls"], 0.5 * both.mean())
    for obj in ("reg", "own", "off"):
        torch.testing.assert_close(terms("coupled", sides, obj=obj)["cls"], 0.5 * alone.mean())


def by_hand(student: NetworkOutputs, teacher: NetworkOutputs, ours: str, *, obj: bool) -> float:
    """Mean squared distance of the classes, in NumPy; the teacher's are soft labels of its logits."""
    rows = [
        np.concatenate([level.detach().double().numpy().reshape(-1, level.shape[-1]) for level in of.raw])
        for of in (student, teacher)
    ]
    start = 64 if student.head == "dfl" else 5
    powers = [np.exp(side[:, start:]) for side in rows]
    softmaxes = [power / power.sum(1, keepdims=True) for power in powers]
    mine = softmaxes[0] if ours == "softmax" else powers[0] / (1 + powers[0])
    squares = (mine - softmaxes[1]) ** 2
    if obj:
        sees = [1 / (1 + np.exp(-side[:, 4:5])) for side in rows]
        squares = np.concatenate((squares, (sees[0] - sees[1]) ** 2), 1)
    return float(squares.mean())


@pytest.mark.parametrize("head", ["coupled", "dfl"])
@pytest.mark.parametrize("obj", ["cls", "off"])
@pytest.mark.parametrize(("kind", "ours"), [("l2_softmax", "softmax"), ("l2_soft_labels", "sigmoid")])
def test_classes_are_compared_with_soft_labels(
    kind: str, ours: str, obj: str, head: Any, terms: Terms, make_view: MakeView
) -> None:
    sides = make_view(head, 4), make_view(head, 5)
    found = terms(head, sides, cls_loss=kind, obj=obj, task_weight=1.0)["cls"]
    wanted = by_hand(*sides, ours, obj=obj == "cls" and head != "dfl")
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-5)
    assert float(terms(head, sides, obj=obj, task_weight=1.0)["cls"].detach()) > 2 * wanted  # of logits


def test_soft_labels_do_not_see_a_shift_of_all_class_logits(terms: Terms, make_view: MakeView) -> None:
    student, teacher = make_view("coupled", 0), make_view("coupled", 1)
    moved = NetworkOutputs(teacher.features, [level.detach().clone() for level in teacher.raw], teacher.head)
    for level in moved.raw:
        level[..., 5:] += 3.0
    for kind, same in (("l2_softmax", True), ("l2_soft_labels", True), ("l2_raw", False)):
        values = [float(terms(of=(student, t), cls_loss=kind)["cls"].detach()) for t in (teacher, moved)]
        assert (values[0] == pytest.approx(values[1], rel=1e-5)) is same


@pytest.mark.parametrize("kind", ["l2_softmax", "l2_soft_labels"])
def test_soft_labels_need_two_classes(kind: Any, make_pair: MakePair) -> None:
    with pytest.raises(UsageError, match=f"cls_loss = {kind} with one class"):
        integrated.Loss(integrated.Config(cls_loss=kind), make_pair(nc=1))


def test_objectness_goes_where_it_is_sent(terms: Terms, make_view: MakeView) -> None:
    sides = make_view("coupled", 0), make_view("coupled", 1)
    box, obj = ((columns(sides[0], *c) - columns(sides[1], *c)).square() for c in ((0, 4), (4, 5)))
    torch.testing.assert_close(
        terms("coupled", sides, obj="reg")["reg"], 0.5 * torch.cat((box, obj), 1).mean()
    )
    own = terms("coupled", sides, obj="own", obj_weight=3.0)
    torch.testing.assert_close(own["obj"], 3 * obj.mean())
    torch.testing.assert_close(own["reg"], 0.5 * box.mean())
    assert "obj" not in terms("coupled", sides, obj="off")


@pytest.mark.parametrize("kind", KINDS)
def test_objectness_among_the_coordinates_is_taught_with_them(
    kind: Any, terms: Terms, make_view: MakeView
) -> None:
    sides = make_view("coupled", 0), make_view("coupled", 1)
    total(terms("coupled", sides, reg_loss=kind, obj="reg", task_weight=0.0)).backward()
    assert all(level.grad[..., 4].any() and not level.grad[..., 5:].any() for level in sides[0].raw)


def test_a_coordinate_over_the_cells_takes_no_notice_of_a_shift(terms: Terms, make_view: MakeView) -> None:
    student, teacher = make_view("coupled", 0), make_view("coupled", 1)
    shifted = NetworkOutputs({}, [level + torch.arange(8.0) for level in student.raw], "coupled")
    once, moved = (terms("coupled", (of, teacher), reg_loss="spatial_kl")["reg"] for of in (student, shifted))
    torch.testing.assert_close(once, moved)


def test_a_coordinate_over_the_cells_is_a_divergence_per_map(terms: Terms, make_view: MakeView) -> None:
    sides = make_view("coupled", 0), make_view("coupled", 1)
    levels = []
    for s, t in zip(sides[0].raw, sides[1].raw, strict=True):
        flat = (level[..., :4].permute(0, 1, 4, 2, 3).flatten(3) for level in (s, t))  # [B, A, 4, h * w]
        levels.append(categorical(*flat).mean())
    wanted = torch.stack(levels).mean()
    torch.testing.assert_close(terms("coupled", sides, reg_loss="spatial_kl")["reg"], 0.5 * wanted)


def test_bins_are_compared_side_by_side(terms: Terms, make_view: MakeView) -> None:
    sides = make_view("dfl", 0), make_view("dfl", 1)
    s, t = (columns(of, 0, 64).view(-1, 4, 16) for of in sides)
    value = terms("dfl", sides, reg_loss="box_softmax_kl")["reg"]
    torch.testing.assert_close(value, 0.5 * categorical(s, t).mean())


def test_squared_distances_grow_with_the_square(terms: Terms, make_view: MakeView) -> None:
    teacher = make_view("coupled", 1)
    near, far = (NetworkOutputs({}, [level + d for level in teacher.raw], "coupled") for d in (0.5, 1.5))
    torch.testing.assert_close(
        total(terms("coupled", (far, teacher))),
        9 * total(terms("coupled", (near, teacher))),
        rtol=1e-4,
        atol=0,
    )


# --- masks


@pytest.mark.parametrize("head", ["coupled", "dfl"])
def test_without_objects_the_teacher_teaches_the_background_or_nothing(head: Any, terms: Terms) -> None:
    assert float(total(terms(head, labels=NO_TARGETS, mask="all")).detach()) > 0.1
    assert float(total(terms(head, labels=NO_TARGETS, mask="teacher")).detach()) > 0.1
    nothing = total(terms(head, labels=NO_TARGETS, mask="kdr"))
    nothing.backward()
    assert float(nothing.detach()) == 0.0


def test_the_mask_of_the_boxes_leaves_all_else_alone(
    terms: Terms, make_view: MakeView, make_pair: MakePair, targets: Tensor
) -> None:
    sides = make_view("coupled", 0), make_view("coupled", 1)
    total(terms("coupled", sides, mask="kdr")).backward()
    loss = integrated.Loss(integrated.Config(mask="kdr"), make_pair())
    masks = loss._weights([], sides[1], targets)
    for level, mask in zip(sides[0].raw, masks, strict=True):
        assert level.grad[mask > 0].any() or not mask.any()
        assert not level.grad[mask == 0].any()


def test_the_teachers_objectness_is_a_weight(terms: Terms, make_view: MakeView) -> None:
    student, teacher = make_view("coupled", 0), make_view("coupled", 1)
    for level in teacher.raw:
        level.data[..., 4] = -60.0
        level.data[0, 1, 0, 0, 4] = 60.0
        level.data[1, 2, 1, 1, 4] = 60.0
    s, t = (
        torch.cat([torch.stack((v[0, 1, 0, 0], v[1, 2, 1, 1])) for v in of.raw]) for of in (student, teacher)
    )
    value = terms("coupled", (student, teacher), mask="teacher")["reg"]
    torch.testing.assert_close(value, 0.5 * (s - t)[:, :4].square().mean())


def test_a_teacher_that_sees_next_to_nothing_is_not_amplified(terms: Terms, make_view: MakeView) -> None:
    student, teacher = make_view("coupled", 0), make_view("coupled", 1)
    for level in teacher.raw:
        level.data[..., 4] = -30.0
    assert float(terms("coupled", (student, teacher), mask="teacher")["reg"].detach()) < 1e-6


# --- settings that contradict each other


@pytest.mark.parametrize("kind", ["l2_sigmoid", "bernoulli_kl"])
def test_sigmoids_of_coordinates_are_refused_for_a_head_of_bins(kind: Any, make_pair: MakePair) -> None:
    with pytest.raises(UsageError, match=f"reg_loss = {kind}"):
        integrated.Loss(integrated.Config(reg_loss=kind), make_pair("dfl"))


def test_a_mask_over_a_distribution_of_all_cells_is_refused(make_pair: MakePair) -> None:
    with pytest.raises(UsageError, match="mask = kdr"):
        integrated.Loss(integrated.Config(reg_loss="spatial_kl", mask="kdr"), make_pair())


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_beyond_the_whole_is_refused(share: float, make_pair: MakePair) -> None:
    with pytest.raises(UsageError, match="task_weight"):
        integrated.Loss(integrated.Config(task_weight=share), make_pair())


# --- a decoupled teacher


def test_a_teachers_batch_norms_are_left_as_they_are(make_pair: MakePair, terms: Terms) -> None:
    torch.manual_seed(0)
    teacher, student = build("n", 3).eval(), build("n", 3).train()
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        teacher_outputs = teacher(images)
    value = total(
        terms("coupled", (NetworkOutputs({}, student(images)), NetworkOutputs({}, teacher_outputs)))
    )
    value.backward()
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())
    assert any(p.grad is not None and p.grad.any() for p in student.parameters())
