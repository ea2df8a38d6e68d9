"""PKD: one minus Pearson's correlation, channel by channel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods import pkd

OneLevel = Callable[..., StudentTeacherInfo]
NO_TARGETS = torch.zeros(0, 6)


def maps(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def value(pair: StudentTeacherInfo, student: Tensor, teacher: Tensor, weight: float = 1.0) -> Tensor:
    loss = pkd.Loss(pkd.Config(adapter="identity", weight=weight), pair)
    (term,) = loss(
        NetworkOutputs({"p3": student}, []), NetworkOutputs({"p3": teacher}, []), NO_TARGETS
    ).values()
    assert isinstance(term, Tensor)
    return term


def test_it_is_one_less_the_correlation(one_level: OneLevel) -> None:
    student, teacher = maps(0, 4, 3, 5, 6), maps(1, 4, 3, 5, 6)
    channels = [
        torch.stack((s, t))
        for s, t in zip(*(m.transpose(0, 1).flatten(1) for m in (student, teacher)), strict=True)
    ]
    correlation = torch.stack([torch.corrcoef(c)[0, 1] for c in channels]).mean()
    n = 4 * 5 * 6
    torch.testing.assert_close(
        value(one_level(3), student, teacher), (1 - correlation) * (n - 1) / n, rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("deviation", [30.0, 1.0, 1e-2, 1e-4, 1e-6], ids="std {:g}".format)
@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (1, 2, 2, 1), (2, 5, 16, 7)], ids=str)
def test_it_is_the_references_value_for_small_deviations_too(
    deviation: float, shape: tuple[int, ...], one_level: OneLevel
) -> None:
    def standard(some: Tensor) -> NDArray[np.float64]:
        values = some.double().numpy().swapaxes(0, 1).reshape(some.shape[1], -1)
        return (values - values.mean(1, keepdims=True)) / (values.std(1, ddof=1, keepdims=True) + 1e-6)

    student, teacher = deviation * maps(0, *shape), maps(1, *shape)
    wanted = np.mean((standard(student) - standard(teacher)) ** 2) / 2
    found = float(value(one_level(shape[1]), student, teacher))
    assert found == pytest.approx(float(wanted), rel=1e-4)


def test_scale_and_offset_make_no_difference(one_level: OneLevel) -> None:
    student, teacher = maps(0, 4, 3, 5, 6), maps(1, 4, 3, 5, 6)
    moved = student * torch.tensor([0.3, 2.0, 7.0]).view(1, 3, 1, 1) + torch.arange(3.0).view(1, 3, 1, 1)
    torch.testing.assert_close(
        value(one_level(3), moved, teacher), value(one_level(3), student, teacher), rtol=1e-3, atol=0
    )


def test_opposite_maps_cost_two(one_level: OneLevel) -> None:
    teacher = maps(1, 4, 3, 5, 6)
    unbiased = 119 / 120  # of 4 x 5 x 6 values
    assert float(value(one_level(3), 3 - 2 * teacher, teacher)) == pytest.approx(2 * unbiased, rel=1e-4)
    whole = value(one_level(3), 3 - 2 * teacher, teacher, weight=10.0)
    assert float(whole) == pytest.approx(20 * unbiased, rel=1e-4)


def test_a_channel_that_says_nothing_is_finite(one_level: OneLevel) -> None:
    student = torch.full((2, 1, 4, 4), 3.0, requires_grad=True)
    cost = value(one_level(1), student, maps(1, 2, 1, 4, 4))
    cost.backward()
    assert torch.isfinite(cost)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
