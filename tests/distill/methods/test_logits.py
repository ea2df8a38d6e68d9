"""Response distillation: Bernoulli and squared distances, heard where the teacher sees an object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods import logits
from distill.methods._divergence import bernoulli, categorical

MakeView = Callable[..., NetworkOutputs]
MakePair = Callable[..., StudentTeacherInfo]
HEADS = ("coupled", "dfl")
NO_TARGETS = torch.zeros(0, 6)


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def seeing(of: NetworkOutputs, logit: float) -> NetworkOutputs:
    """The same, but its objectness (of a ``dfl`` head, every class) is one number."""
    raw = [level.detach().clone() for level in of.raw]
    for level in raw:
        level[..., slice(64, None) if of.head == "dfl" else 4] = logit
    return NetworkOutputs(of.features, raw, of.head)


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def sides(make_view: MakeView) -> Callable[[str], tuple[NetworkOutputs, NetworkOutputs]]:
    return lambda head: (make_view(head, 0), make_view(head, 1))


@pytest.mark.parametrize("kind", ["bernoulli", "l2"])
def test_a_teacher_that_sees_nothing_teaches_no_class_and_no_box(
    head: Any, kind: Any, sides: Any, make_pair: MakePair
) -> None:
    student, teacher = sides(head)
    terms = logits.Loss(logits.Config(kind=kind), make_pair(head))(
        student, seeing(teacher, -60.0), NO_TARGETS
    )
    assert float(terms["cls"].detach()) == pytest.approx(0, abs=1e-12)
    assert float(terms["box"].detach()) == pytest.approx(0, abs=1e-12)


def test_classes_and_boxes_count_in_proportion_to_the_teachers_objectness(
    sides: Any, make_pair: MakePair
) -> None:
    loss, (student, teacher) = logits.Loss(logits.Config(), make_pair()), sides("coupled")
    # So faint that the sum of weights stays below one object an image, where the divisor is constant.
    faint, fainter = (loss(student, seeing(teacher, logit), NO_TARGETS) for logit in (-8.0, -9.0))
    ratio = torch.tensor([-8.0, -9.0]).sigmoid()
    for part in ("cls", "box"):
        torch.testing.assert_close(faint[part] / fainter[part], ratio[0] / ratio[1])


def test_labels_play_no_part(head: Any, sides: Any, make_pair: MakePair, targets: Tensor) -> None:
    loss, (student, teacher) = logits.Loss(logits.Config(), make_pair(head)), sides(head)
    torch.testing.assert_close(
        total(loss(student, teacher, targets)), total(loss(student, teacher, NO_TARGETS)), rtol=0, atol=0
    )


def test_a_bernoulli_divergence_is_the_textbooks() -> None:
    p, q = 0.8, 0.3
    wanted = p * torch.log(torch.tensor(p / q)) + (1 - p) * torch.log(torch.tensor((1 - p) / (1 - q)))
    student, teacher = (torch.logit(torch.tensor(value)) for value in (q, p))
    torch.testing.assert_close(bernoulli(student, teacher), wanted)


def test_a_categorical_divergence_is_the_textbooks() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    torch.testing.assert_close(categorical(q.log() + 3, p.log() - 1), (p * (p / q).log()).sum())


def test_extreme_logits_stay_finite() -> None:
    far = torch.tensor([-200.0, 200.0])
    assert torch.isfinite(bernoulli(far, -far)).all()
    assert torch.isfinite(categorical(far, -far)).all()


@pytest.mark.parametrize("gain", ["obj", "cls", "box"])
def test_each_gain_has_its_own_columns(gain: str, head: Any, sides: Any, make_pair: MakePair) -> None:
    student, teacher = sides(head)
    boxes = 64 if head == "dfl" else 4
    own = {"box": slice(0, boxes), "obj": slice(4, 5), "cls": slice(64 if head == "dfl" else 5, None)}
    gains = {name: float(name == gain) for name in own}
    total(logits.Loss(logits.Config(**gains), make_pair(head))(student, teacher, NO_TARGETS)).backward()
    for level in student.raw:
        teacher_outputs = level.grad.clone()
        assert teacher_outputs[..., own[gain]].any() == (head != "dfl" or gain != "obj")
        teacher_outputs[..., own[gain]] = 0
        assert not teacher_outputs.any()


def test_squared_distances_are_what_a_high_temperature_comes_to(sides: Any, make_pair: MakePair) -> None:
    warm, squares = (
        logits.Loss(logits.Config(**settings), make_pair())(*sides("coupled"), NO_TARGETS)
        for settings in ({"temperature": 60.0}, {"kind": "l2"})
    )
    for name, value in warm.items():
        torch.testing.assert_close(8 * value, squares[name], rtol=2e-2, atol=0)


def test_the_bins_of_a_side_are_one_distribution(sides: Any, make_pair: MakePair) -> None:
    student, teacher = sides("dfl")
    shifted = [level.detach().clone() for level in student.raw]
    for level in shifted:
        level[..., 16:32] += 3.0
    loss = logits.Loss(logits.Config(temperature=2.0), make_pair("dfl"))
    torch.testing.assert_close(
        loss(NetworkOutputs({}, shifted, "dfl"), teacher, NO_TARGETS)["box"],
        loss(student, teacher, NO_TARGETS)["box"],
    )


def test_one_cell_of_one_object(make_view: MakeView, make_pair: MakePair) -> None:
    student, teacher = make_view("coupled", 0, batch=1), make_view("coupled", 1, batch=1)
    teacher = seeing(teacher, -60.0)
    teacher.raw[1][0, 2, 3, 1, 4] = 60.0
    s, t = (of.raw[1][0, 2, 3, 1] for of in (student, teacher))
    terms = logits.Loss(logits.Config(), make_pair())(student, teacher, NO_TARGETS)
    torch.testing.assert_close(terms["cls"], 0.5 * bernoulli(s[5:], t[5:]).mean())
    torch.testing.assert_close(terms["box"], bernoulli(s[:4], t[:4]).mean())
