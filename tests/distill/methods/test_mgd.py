"""MGD: which cells are blanked, what is summed, what chance decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods import mgd

OneLevel = Callable[..., StudentTeacherInfo]
NO_TARGETS = torch.zeros(0, 6)


def maps(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bare(pair: StudentTeacherInfo, **settings: Any) -> mgd.Loss:
    """The loss with a block that passes on what it is given."""
    loss = mgd.Loss(mgd.Config(adapter="identity", **settings), pair)
    loss.rebuild["p3"] = nn.Identity()
    return loss


def value(loss: mgd.Loss, student: Tensor, teacher: Tensor) -> Tensor:
    (term,) = loss(
        NetworkOutputs({"p3": student}, []), NetworkOutputs({"p3": teacher}, []), NO_TARGETS
    ).values()
    assert isinstance(term, Tensor)
    return term


@pytest.mark.parametrize("dropped", [0.0, 0.45, 0.65, 1.0])
def test_as_many_cells_are_blanked_as_asked_in_all_channels(one_level: OneLevel, dropped: float) -> None:
    torch.manual_seed(0)
    left = value(
        bare(one_level(3), dropped=dropped, weight=1.0), torch.ones(2, 3, 64, 64), torch.zeros(2, 3, 64, 64)
    )
    cells = float(left) / 3
    assert cells == int(cells)  # a cell in all its channels or in none
    assert cells / 64**2 == pytest.approx(1 - dropped, abs=0.02)


def test_a_student_of_which_nothing_is_left_learns_nothing(one_level: OneLevel) -> None:
    student = maps(0, 1, 3, 4, 4).requires_grad_()
    loss = mgd.Loss(mgd.Config(adapter="identity", dropped=1.0), one_level(3))
    value(loss, student, maps(1, 1, 3, 4, 4)).backward()
    assert student.grad is not None
    assert not student.grad.any()
    assert any(p.grad is not None and p.grad.any() for p in loss.rebuild.parameters())


def test_a_map_that_the_block_can_rebuild_costs_nothing(one_level: OneLevel) -> None:
    loss = mgd.Loss(mgd.Config(adapter="identity", dropped=0.0), one_level(3))
    for layer in loss.rebuild["p3"].modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.bias)
    positive = maps(0, 2, 3, 4, 4).abs()
    assert float(value(loss, positive, positive).detach()) == 0


def test_the_sum_is_over_channels_and_cells_and_the_mean_over_images(one_level: OneLevel) -> None:
    student, teacher = maps(0, 2, 3, 4, 5), maps(1, 2, 3, 4, 5)
    wanted = 2e-5 * ((student - teacher) ** 2).sum() / 2
    torch.testing.assert_close(value(bare(one_level(3), dropped=0.0), student, teacher), wanted)


def test_chance_is_torchs(one_level: OneLevel) -> None:
    loss, student, teacher = bare(one_level(3)), maps(0, 2, 3, 8, 8), maps(1, 2, 3, 8, 8)
    seen = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        seen.append(float(value(loss, student, teacher)))
    assert seen[0] == seen[1] != seen[2]


def test_images_are_blanked_apart(one_level: OneLevel) -> None:
    torch.manual_seed(0)
    student = torch.ones(2, 1, 8, 8, requires_grad=True)
    value(bare(one_level(1)), student, torch.zeros(2, 1, 8, 8)).backward()
    assert student.grad is not None
    assert not torch.equal(student.grad[0], student.grad[1])
