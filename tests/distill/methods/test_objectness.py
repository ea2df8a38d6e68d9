"""Objectness-scaled distillation: proportions, both forms, and the thinning of the teacher's predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods import objectness

MakeView = Callable[..., NetworkOutputs]
MakePair = Callable[..., StudentTeacherInfo]
NO_TARGETS = torch.zeros(0, 6)


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


@pytest.fixture
def sides(make_view: MakeView) -> Callable[[str], tuple[NetworkOutputs, NetworkOutputs]]:
    return lambda head: (make_view(head, 0), make_view(head, 1))


def seeing(of: NetworkOutputs, logit: float) -> NetworkOutputs:
    raw = [level.detach().clone() for level in of.raw]
    for level in raw:
        level[..., slice(64, None) if of.head == "dfl" else 4] = logit
    return NetworkOutputs(of.features, raw, of.head)


# --- proportions


@pytest.mark.parametrize("head", ["coupled", "dfl"])
def test_a_teacher_that_sees_nothing_teaches_nothing(head: Any, sides: Any, make_pair: MakePair) -> None:
    student, teacher = sides(head)
    loss = objectness.Loss(objectness.Config(), make_pair(head))
    assert float(total(loss(student, seeing(teacher, -90.0), NO_TARGETS)).detach()) < 1e-30


def test_in_the_papers_form_it_teaches_that_nothing_is_there(sides: Any, make_pair: MakePair) -> None:
    student, teacher = sides("coupled")
    terms = objectness.Loss(objectness.Config(form="paper"), make_pair())(
        student, seeing(teacher, -60.0), NO_TARGETS
    )
    wanted = sum(level[..., 4].sigmoid().square().mean() for level in student.raw)
    torch.testing.assert_close(terms["obj"], 10 * wanted)
    assert float((terms["cls"] + terms["box"]).detach()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("form", ["logits", "paper"])
def test_classes_and_boxes_count_in_proportion_to_the_teachers_objectness(
    form: Any, sides: Any, make_pair: MakePair
) -> None:
    student, teacher = sides("coupled")
    loss = objectness.Loss(objectness.Config(form=form, nms=False), make_pair())
    strong, faint = (loss(student, seeing(teacher, logit), NO_TARGETS) for logit in (2.0, -3.0))
    ratio = torch.tensor([2.0, -3.0]).sigmoid()
    for part in ("cls", "box"):
        torch.testing.assert_close(strong[part] / faint[part], ratio[0] / ratio[1])


@pytest.mark.parametrize("head", ["coupled", "dfl"])
@pytest.mark.parametrize("form", ["logits", "paper"])
def test_equal_sides_cost_nothing_but_what_was_thinned_out(
    form: Any, head: Any, sides: Any, make_pair: MakePair
) -> None:
    _, both = sides(head)
    terms = objectness.Loss(objectness.Config(form=form), make_pair(head))(both, both, NO_TARGETS)
    assert float((terms["cls"] + terms["box"]).detach()) == 0
    if head != "dfl":
        # The paper's form goes on to teach a student that makes the same predictions not to make so many.
        assert (float(terms["obj"].detach()) > 0) == (form == "paper")
    whole = objectness.Loss(objectness.Config(form=form, nms=False), make_pair(head))
    assert float(total(whole(both, both, NO_TARGETS)).detach()) == 0


@pytest.mark.parametrize("head", ["coupled", "dfl"])
def test_labels_play_no_part(head: Any, sides: Any, make_pair: MakePair, targets: Tensor) -> None:
    loss = objectness.Loss(objectness.Config(), make_pair(head))
    one, other = (total(loss(*sides(head), t)) for t in (targets, NO_TARGETS))
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        pytest.param({"form": "logits"}, lambda x: x, id="raw values"),
        pytest.param({"form": "paper"}, torch.sigmoid, id="probabilities"),
    ],
)
def test_one_prediction_of_a_teacher_of_one_object(
    settings: Any, wanted: Any, make_view: MakeView, make_pair: MakePair
) -> None:
    student, teacher = make_view("coupled", 0, batch=1), seeing(make_view("coupled", 1, batch=1), -90.0)
    teacher.raw[1][0, 2, 3, 1, 4] = 90.0
    s, t = (wanted(of.raw[1][0, 2, 3, 1]) for of in (student, teacher))
    count = student.raw[1][..., 0].numel()
    terms = objectness.Loss(objectness.Config(**settings), make_pair())(student, teacher, NO_TARGETS)
    torch.testing.assert_close(terms["box"], 10 * 0.05 * (s - t)[:4].square().mean() / count)
    torch.testing.assert_close(terms["cls"], 10 * 0.5 * (s - t)[5:].square().mean() / count)


def test_the_expected_box_is_what_the_papers_form_compares_of_bins(
    make_view: MakeView, make_pair: MakePair
) -> None:
    student, teacher = (seeing(make_view("dfl", seed, batch=1), 90.0) for seed in (0, 1))
    for of, bin_ in ((student, 3), (teacher, 5)):
        for level in of.raw:
            level[..., :64] = -90.0
            level[..., bin_:64:16] = 90.0
    terms = objectness.Loss(objectness.Config(form="paper", nms=False), make_pair("dfl"))(
        student, teacher, NO_TARGETS
    )
    assert float(terms["box"]) == pytest.approx(3 * 10 * 0.05 * 2**2, rel=1e-5)  # three levels


# --- the source's formula


def of_the_source(student: NetworkOutputs, teacher: NetworkOutputs, gains: dict[str, float]) -> float:
    """The sum over the levels of the mean of objectness times squared difference, by loops in NumPy."""
    columns = {"box": slice(0, 4), "obj": slice(4, 5), "cls": slice(5, None)}
    found = 0.0
    for ours, theirs in zip(student.raw, teacher.raw, strict=True):
        s, t = (level.detach().double().numpy().reshape(-1, level.shape[-1]) for level in (ours, theirs))
        for part, gain in gains.items():
            cells = [
                np.mean((a[columns[part]] - b[columns[part]]) ** 2) / (1 + np.exp(-b[4]))
                for a, b in zip(s, t, strict=True)
            ]
            found += gain * sum(cells) / len(cells)
    return found


@pytest.mark.parametrize(("seed", "batch"), [(0, 2), (3, 1), (7, 5)])
def test_it_is_the_sum_over_the_levels_of_the_sources_means(
    seed: int, batch: int, make_view: MakeView, make_pair: MakePair
) -> None:
    student, teacher = (make_view("coupled", s, batch=batch) for s in (seed, seed + 1))
    for scale, level in zip((0.1, 1.0, 5.0), teacher.raw, strict=True):
        level.data *= scale  # the coarse level differs most: one mean over all levels would be far off
    loss = objectness.Loss(objectness.Config(nms=False), make_pair())(student, teacher, NO_TARGETS)
    wanted = 10 * of_the_source(student, teacher, {"box": 0.05, "obj": 1.0, "cls": 0.5})
    assert float(total(loss).detach()) == pytest.approx(wanted, rel=1e-5)


def test_the_classes_of_an_anchor_head_with_one_class_are_left_out(
    make_view: MakeView, make_pair: MakePair
) -> None:
    student, teacher = (make_view("coupled", seed, nc=1) for seed in (0, 1))
    loss = objectness.Loss(objectness.Config(nms=False), make_pair(nc=1))(student, teacher, NO_TARGETS)
    wanted = 10 * of_the_source(student, teacher, {"box": 0.05, "obj": 1.0})
    assert float(total(loss).detach()) == pytest.approx(wanted, rel=1e-5)
    alone = objectness.Loss(objectness.Config(), make_pair("dfl", nc=1))
    assert "cls" in alone(make_view("dfl", 0, nc=1), make_view("dfl", 1, nc=1), NO_TARGETS)


# --- thinning


def kept(objects: list[tuple[int, int, int, float, int]], *, anchors: int = 2) -> set[tuple[int, int, int]]:
    """Objects are anchor, row, column, objectness, class; gives those that are left of 6 x 6 cells."""
    scores, classes = torch.zeros(1, anchors, 6, 6), torch.zeros(1, anchors, 6, 6, dtype=torch.int64)
    for a, y, x, score, class_id in objects:
        scores[0, a, y, x], classes[0, a, y, x] = score, class_id
    mask = objectness.feature_map_nms(scores, classes)[0]
    return {(a, y, x) for a, y, x, *_ in objects if mask[a, y, x]}


def test_of_neighbours_the_strongest_is_left() -> None:
    assert kept([(0, 2, 2, 0.9, 1), (0, 2, 3, 0.8, 1), (0, 3, 3, 0.7, 1)]) == {(0, 2, 2)}


def test_another_class_is_no_rival() -> None:
    assert kept([(0, 2, 2, 0.9, 1), (0, 2, 3, 0.8, 2)]) == {(0, 2, 2), (0, 2, 3)}


def test_another_anchor_is_one_in_the_same_cell_too() -> None:
    assert kept([(0, 2, 2, 0.9, 1), (1, 2, 2, 0.8, 1), (1, 1, 1, 0.95, 1)]) == {(1, 1, 1)}


def test_two_cells_away_is_no_neighbour() -> None:
    assert kept([(0, 2, 2, 0.9, 1), (0, 2, 4, 0.8, 1)]) == {(0, 2, 2), (0, 2, 4)}


def test_one_that_was_beaten_beats_its_own_neighbours_still() -> None:
    assert kept([(0, 2, 2, 0.9, 1), (0, 2, 3, 0.8, 1), (0, 2, 4, 0.7, 1)]) == {(0, 2, 2)}


def test_at_the_border_no_cell_of_the_other_side_is_a_neighbour() -> None:
    assert kept([(0, 0, 0, 0.8, 0), (0, 0, 5, 0.9, 0), (0, 5, 0, 0.9, 0)]) == {
        (0, 0, 0),
        (0, 0, 5),
        (0, 5, 0),
    }


def test_of_equals_all_are_left() -> None:
    assert kept([(0, 2, 2, 0.5, 1), (1, 2, 3, 0.5, 1)]) == {(0, 2, 2), (1, 2, 3)}


def test_images_are_thinned_by_themselves() -> None:
    random = torch.Generator().manual_seed(0)
    scores = torch.rand(3, 2, 5, 7, generator=random)
    classes = torch.randint(0, 2, scores.shape, generator=random)
    together = objectness.feature_map_nms(scores, classes)
    for image in range(3):
        one = slice(image, image + 1)
        assert torch.equal(objectness.feature_map_nms(scores[one], classes[one]), together[one])


def test_the_teachers_predictions_are_left_as_they_are(sides: Any, make_pair: MakePair) -> None:
    student, teacher = sides("coupled")
    before = [level.detach().clone() for level in teacher.raw]
    objectness.Loss(objectness.Config(), make_pair())(student, teacher, NO_TARGETS)
    assert all(torch.equal(level, old) for level, old in zip(teacher.raw, before, strict=True))


def test_thinning_leaves_less_to_learn(sides: Any, make_pair: MakePair) -> None:
    thin, full = (
        total(objectness.Loss(objectness.Config(nms=nms), make_pair())(*sides("coupled"), NO_TARGETS))
        for nms in (True, False)
    )
    assert 0 < float(thin.detach()) < float(full.detach())
