"""What all methods that compare maps have in common, and where they differ: size, and true boxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods import cwd, fbkd, fgd, mgd, mkd, pkd

OneLevel = Callable[..., StudentTeacherInfo]
NO_TARGETS = torch.zeros(0, 6)
TARGETS = torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.4], [1, 1, 0.2, 0.7, 0.3, 0.1]])

LISTENING_TO_MAPS_ALONE: list[tuple[Any, dict[str, Any]]] = [
    (cwd, {}),
    (pkd, {}),
    (mgd, {}),
    (mkd, {"feature": "mse"}),
    (fbkd, {"subsample": (2,), "reduction": (2,)}),
]


def maps(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sides(student: Tensor, teacher: Tensor) -> tuple[NetworkOutputs, NetworkOutputs]:
    return NetworkOutputs({"p3": student}, []), NetworkOutputs({"p3": teacher}, [])


@pytest.mark.parametrize(("module", "settings"), LISTENING_TO_MAPS_ALONE)
def test_true_boxes_make_no_difference(one_level: OneLevel, module: Any, settings: dict[str, Any]) -> None:
    loss = module.Loss(module.Config(**settings), one_level(4, 6))
    student, teacher = sides(maps(0, 2, 4, 8, 8), maps(1, 2, 6, 8, 8))
    values = []
    for targets in (NO_TARGETS, TARGETS):
        torch.manual_seed(0)
        values.append(loss(student, teacher, targets))
    for part, value in values[0].items():
        assert torch.equal(value, values[1][part])


def mean_squared(pair: StudentTeacherInfo) -> Any:
    return mkd.Loss(mkd.Config(masked=0, alignment=0, scales=(1,), adapter="identity"), pair)


def mean_squared_summed(pair: StudentTeacherInfo) -> Any:
    settings: dict[str, Any] = {"scales": (1,), "reduction": "paper"}
    return mkd.Loss(mkd.Config(masked=0, alignment=0, adapter="identity", **settings), pair)


def masked_generative(pair: StudentTeacherInfo) -> Any:
    loss = mgd.Loss(mgd.Config(dropped=0.0, adapter="identity"), pair)
    loss.rebuild["p3"] = nn.Identity()
    return loss


def relation_of_fgd(pair: StudentTeacherInfo) -> Any:
    return fgd.Loss(fgd.Config(fg=0, bg=0, attention=0, adapter="identity"), pair)


def correlation(pair: StudentTeacherInfo) -> Any:
    return pkd.Loss(pkd.Config(adapter="identity"), pair)


def channel_wise(pair: StudentTeacherInfo) -> Any:
    return cwd.Loss(cwd.Config(adapter="identity"), pair)


@pytest.mark.parametrize(
    ("make", "channels", "cells"),
    [
        (mean_squared, 1, 1),
        (mean_squared_summed, 2, 1),
        (masked_generative, 2, 4),
        (relation_of_fgd, 2, 4),
        (correlation, 1, 1),
        (channel_wise, 1, 1),
    ],
)
def test_what_is_summed_grows_with_channels_and_cells(
    one_level: OneLevel, make: Callable[[StudentTeacherInfo], Any], channels: int, cells: int
) -> None:
    def cost(width: int, repeat: tuple[int, int, int, int]) -> float:
        student, teacher = maps(0, 2, 3, 8, 8).repeat(repeat), maps(1, 2, 3, 8, 8).repeat(repeat)
        values = make(one_level(width))(*sides(student, teacher), NO_TARGETS)
        return float(torch.stack(list(values.values())).sum().detach())

    once = cost(3, (1, 1, 1, 1))
    assert cost(6, (1, 2, 1, 1)) == pytest.approx(channels * once, rel=1e-3)
    # An unbiased deviation over n values adds a factor (n - 1) / n: 0.992 for 2 x 8 x 8.
    assert cost(3, (1, 1, 2, 2)) == pytest.approx(cells * once, rel=1e-2)


@pytest.mark.parametrize("make", [mean_squared, masked_generative, relation_of_fgd])
def test_squared_differences_notice_a_shifted_channel(
    one_level: OneLevel, make: Callable[[StudentTeacherInfo], Any]
) -> None:
    teacher = maps(1, 2, 3, 8, 8)
    values = make(one_level(3))(*sides(teacher + 5, teacher), NO_TARGETS)
    assert float(torch.stack(list(values.values())).sum().detach()) > 0


@pytest.mark.parametrize("make", [correlation, channel_wise])
def test_correlation_and_channels_do_not(
    one_level: OneLevel, make: Callable[[StudentTeacherInfo], Any]
) -> None:
    teacher = maps(1, 2, 3, 8, 8)
    values = make(one_level(3))(*sides(teacher + 5, teacher), NO_TARGETS)
    assert float(torch.stack(list(values.values())).sum().detach()) == pytest.approx(0, abs=1e-5)
