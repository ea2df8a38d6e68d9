"""What every distillation method must satisfy, whatever its formula and whatever the head."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.methods.cwd import Config as CwdConfig
from distill.methods.cwd import Loss as CwdLoss
from distill.recipe import METHODS
from edgestill.errors import UsageError
from edgestill.spec import COCO_ANCHORS_PX, HeadKind

STRIDES = (8, 16, 32)
HW = (64, 96)
NC = 3
TARGETS = torch.tensor(
    [
        [0, 1, 0.3, 0.4, 0.2, 0.3],
        [1, 0, 0.7, 0.6, 0.1, 0.1],
        [1, 2, 0.2, 0.8, 0.3, 0.2],
        [1, 2, 0.5, 0.5, 1.0, 1.0],  # as large as the image: the coarse level's
    ]
)
NO_TARGETS = torch.zeros(0, 6)
#: What takes chance out of a method's default settings.
CERTAIN: dict[str, dict[str, Any]] = {"mgd": {"dropped": 0.0}, "mkd": {"zeta": 0.0}}
#: Methods that ask what can be rebuilt of the teacher's maps, which a student equal to it need not satisfy.
REBUILDING = {"mgd"}
#: Methods with unbiased deviations, whose values change by a few percent from 12 cells to twice as many.
UNBIASED = {"pkd": 0.03}


def pair(
    student: int = 6, teacher: int = 6, *, head: HeadKind = "coupled", nc: int = NC
) -> StudentTeacherInfo:
    return StudentTeacherInfo(
        student_channels={"p3": student, "p4": student, "p5": student},
        teacher_channels={"p3": teacher, "p4": teacher, "p5": teacher},
        strides=STRIDES,
        anchors_px=() if head == "dfl" else COCO_ANCHORS_PX,
        nc=nc,
        input_hw=HW,
        head=head,
        teacher_head=head,
    )


def view(
    channels: int,
    seed: int,
    *,
    head: HeadKind = "coupled",
    batch: int = 2,
    nc: int = NC,
    hw: tuple[int, int] = HW,
) -> NetworkOutputs:
    random = torch.Generator().manual_seed(seed)
    grids = [(hw[0] // s, hw[1] // s) for s in STRIDES]
    features = {
        level: torch.randn(batch, channels, *grid, generator=random, requires_grad=True)
        for level, grid in zip(("p3", "p4", "p5"), grids, strict=True)
    }
    per_cell, columns = (1, 64 + nc) if head == "dfl" else (3, 5 + nc)
    raw = [torch.randn(batch, per_cell, *g, columns, generator=random, requires_grad=True) for g in grids]
    return NetworkOutputs(features, raw, head)


def leaves(of: NetworkOutputs) -> list[Tensor]:
    return [*of.features.values(), *of.raw]


def certain(module: Any) -> Any:
    """The method's default settings without chance."""
    return module.Config(**CERTAIN.get(module.__name__.rpartition(".")[2], {}))


def identity(module: Any) -> Any:
    """Neither chance nor an adapter, so that two equal sides are compared as they are."""
    config = certain(module)
    has_adapter = "adapter" in {f.name for f in fields(config)}
    return replace(config, adapter="identity") if has_adapter else config


def total(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


@pytest.fixture(params=METHODS.names())
def module(request: pytest.FixtureRequest) -> Any:
    return METHODS.load(request.param)


@pytest.fixture(params=sorted(set(METHODS.names()) - REBUILDING))
def comparing(request: pytest.FixtureRequest) -> Any:
    return METHODS.load(request.param)


@pytest.fixture(params=["coupled", "dfl"])
def head(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_student_equal_to_its_teacher_has_nothing_to_learn(comparing: Any, head: Any) -> None:
    both = view(6, 0, head=head)
    loss = comparing.Loss(identity(comparing), pair(head=head))
    assert float(total(loss(both, both, TARGETS)).detach()) == pytest.approx(0, abs=1e-5)


def test_a_student_equal_to_its_teacher_is_not_moved(comparing: Any, head: Any) -> None:
    student, teacher = view(6, 0, head=head), view(6, 0, head=head)
    total(comparing.Loss(identity(comparing), pair(head=head))(student, teacher, TARGETS)).backward()
    assert all(leaf.grad is None or leaf.grad.abs().max() < 1e-5 for leaf in leaves(student))


def test_different_sides_have_something_to_learn(module: Any, head: Any) -> None:
    loss = module.Loss(module.Config(), pair(head=head))
    assert float(total(loss(view(6, 0, head=head), view(6, 1, head=head), TARGETS)).detach()) > 0


def test_only_the_student_is_taught(module: Any, head: Any) -> None:
    student, teacher = view(6, 0, head=head), view(6, 1, head=head)
    before = [leaf.detach().clone() for leaf in leaves(teacher)]
    total(module.Loss(module.Config(), pair(head=head))(student, teacher, TARGETS)).backward()
    assert any(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in leaves(student))
    assert all(leaf.grad is None for leaf in leaves(teacher))
    assert all(torch.equal(leaf, old) for leaf, old in zip(leaves(teacher), before, strict=True))


def test_every_term_is_a_float32_scalar_with_a_graph(module: Any, head: Any) -> None:
    for targets in (TARGETS, NO_TARGETS):
        terms = module.Loss(module.Config(), pair(head=head))(
            view(6, 0, head=head), view(6, 1, head=head), targets
        )
        for term in terms.values():
            assert term.shape == ()
            assert term.dtype == torch.float32
            assert term.requires_grad


def test_adapters_are_taught_with_the_student(module: Any) -> None:
    loss = module.Loss(module.Config(), pair(4, 6))
    for _ in range(2):  # a layer that starts at zero lets those before it learn from the next step on
        loss.zero_grad()
        total(loss(view(4, 0), view(6, 1), TARGETS)).backward()
        with torch.no_grad():
            for parameter in loss.parameters():
                assert parameter.grad is not None
                parameter.sub_(0.1 * parameter.grad.sign())
    assert all(p.grad is not None and p.grad.any() for p in loss.parameters())


def test_different_widths_are_aligned(module: Any, head: Any) -> None:
    loss = module.Loss(module.Config(), pair(4, 6, head=head))
    assert torch.isfinite(total(loss(view(4, 0, head=head), view(6, 1, head=head), TARGETS)))


def check_finite(
    module: Any, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor, of: StudentTeacherInfo
) -> None:
    value = total(module.Loss(module.Config(), of)(student, teacher, targets))
    value.backward()
    assert torch.isfinite(value)
    assert all(leaf.grad is None or torch.isfinite(leaf.grad).all() for leaf in leaves(student))


def test_a_batch_without_objects_is_finite_and_has_gradients(module: Any, head: Any) -> None:
    check_finite(module, view(6, 0, head=head), view(6, 1, head=head), NO_TARGETS, pair(head=head))


def test_one_class_is_finite_and_has_gradients(module: Any, head: Any) -> None:
    one = TARGETS.clone()
    one[:, 1] = 0
    sides = (view(6, seed, head=head, nc=1) for seed in (0, 1))
    check_finite(module, *sides, one, pair(head=head, nc=1))


def test_images_of_one_coarse_cell_are_finite_and_has_gradients(module: Any, head: Any) -> None:
    sides = (view(6, seed, head=head, hw=(32, 32)) for seed in (0, 1))
    check_finite(module, *sides, TARGETS, pair(head=head))


def test_a_teacher_whose_maps_fade_is_finite_and_has_gradients(module: Any, head: Any) -> None:
    """As those of a deep network with fresh weights do."""
    bright = view(6, 1, head=head)
    faint = NetworkOutputs(
        {level: 1e-9 * maps for level, maps in bright.features.items()},
        [1e-9 * level - 4.0 for level in bright.raw],
        head,
    )
    check_finite(module, view(6, 0, head=head), faint, TARGETS, pair(head=head))


def test_another_images_teaching_is_another_lesson(module: Any, head: Any) -> None:
    student, teacher = view(6, 0, head=head), view(6, 1, head=head)
    loss = module.Loss(certain(module), pair(head=head))
    own, shuffled = (float(total(loss(student, t, TARGETS)).detach()) for t in (teacher, teacher.rolled()))
    assert own != pytest.approx(shuffled, rel=1e-6)


def test_a_method_that_compares_maps_needs_no_predictions_of_the_students_kind(module: Any) -> None:
    if module.INPUTS == "features":
        teacher = view(6, 1)
        alone = NetworkOutputs(
            teacher.features, [level[:, :1, ..., 5:].detach() for level in teacher.raw], None
        )
        check_finite(module, view(6, 0), alone, TARGETS, replace(pair(), teacher_head=None))


def test_a_method_says_what_it_compares(module: Any) -> None:
    assert module.INPUTS in get_args(MethodInputs)


def test_a_batch_twice_as_long_with_the_same_images_costs_the_same(module: Any, head: Any) -> None:
    loss = module.Loss(certain(module), pair(head=head))
    student, teacher = view(6, 0, head=head), view(6, 1, head=head)
    once = total(loss(student, teacher, TARGETS))
    again = TARGETS.clone()
    again[:, 0] += 2
    twice = total(loss(_doubled(student), _doubled(teacher), torch.cat((TARGETS, again))))
    tolerance = UNBIASED.get(module.__name__.rpartition(".")[2], 1e-4)
    torch.testing.assert_close(twice, once, rtol=tolerance, atol=1e-6)


def test_a_method_names_its_source(module: Any) -> None:
    assert re.search(r"^Source: .*https://", module.__doc__, re.MULTILINE | re.DOTALL)


def test_a_method_says_that_it_is_a_mean_over_the_batch(module: Any) -> None:
    assert "multiplies" in module.__doc__
    assert "batch size" in " ".join(module.__doc__.split())


def test_the_weight_scales_every_term(module: Any) -> None:
    student, teacher = view(6, 0), view(6, 1)
    torch.manual_seed(0)
    once = module.Loss(module.Config(weight=1.0), pair())(student, teacher, TARGETS)
    torch.manual_seed(0)
    thrice = module.Loss(module.Config(weight=3.0), pair())(student, teacher, TARGETS)
    for name, value in once.items():
        torch.testing.assert_close(thrice[name], 3 * value)


def test_an_identity_adapter_between_different_widths_is_refused() -> None:
    with pytest.raises(UsageError, match="p3 has 4 channels, and 6 in the teacher"):
        CwdLoss(CwdConfig(adapter="identity"), pair(4, 6))


def _doubled(of: NetworkOutputs) -> NetworkOutputs:
    return NetworkOutputs(
        {k: torch.cat((v, v)) for k, v in of.features.items()},
        [torch.cat((r, r)) for r in of.raw],
        of.head,
    )
