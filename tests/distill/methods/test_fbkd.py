"""FBKD: distances that are not squared, attention of both sides, and a block that needs no large matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods import fbkd
from edgestill.errors import UsageError

OneLevel = Callable[..., StudentTeacherInfo]
NO_TARGETS = torch.zeros(0, 6)


def maps(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def terms(pair: StudentTeacherInfo, student: Tensor, teacher: Tensor, **settings: Any) -> dict[str, Tensor]:
    config = fbkd.Config(**{"subsample": (2,), "reduction": (2,), "adapter": "identity", **settings})
    values = fbkd.Loss(config, pair)(
        NetworkOutputs({"p3": student}, []), NetworkOutputs({"p3": teacher}, []), NO_TARGETS
    )
    return {name: value.detach() for name, value in values.items()}


def test_terms_are_those_of_the_formula(one_level: OneLevel) -> None:
    student, teacher = maps(0, 1, 3, 4, 5), maps(1, 1, 3, 4, 5)
    looked_at = sum(
        20 * (m.abs().mean(1) / 0.5).flatten(1).softmax(1).view(1, 1, 4, 5) / 2 for m in (student, teacher)
    )
    values = terms(one_level(3), student, teacher)
    wanted = {
        "feature": 7e-5 * (looked_at * (student - teacher) ** 2).sum().sqrt(),
        "channel": 4e-3 * torch.dist(student.mean((2, 3)), teacher.mean((2, 3))),
        "spatial": 4e-3 * torch.dist(student.mean(1), teacher.mean(1)),
        "relation": 7e-5 * torch.dist(student, teacher),  # the blocks add nothing yet
    }
    for name, value in values.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=0)


def test_images_count_one_by_one(one_level: OneLevel) -> None:
    student, teacher = maps(0, 3, 2, 4, 4), maps(1, 3, 2, 4, 4)
    together = terms(one_level(2), student, teacher)
    apart = [terms(one_level(2), student[i : i + 1], teacher[i : i + 1]) for i in range(3)]
    for name, value in together.items():
        torch.testing.assert_close(value, torch.stack([one[name] for one in apart]).mean())


@pytest.mark.parametrize("name", ["channel", "spatial", "relation"])
def test_distances_are_not_squared(one_level: OneLevel, name: str) -> None:
    teacher, step = maps(0, 1, 2, 4, 4), maps(1, 1, 2, 4, 4)
    near, far = (terms(one_level(2), teacher + scale * step, teacher)[name] for scale in (1, 3))
    torch.testing.assert_close(far, 3 * near)


@pytest.mark.parametrize(("size", "side"), [((6, 8), 2), ((5, 7), 2), ((4, 4), 1), ((5, 5), 4)])
def test_a_block_is_the_one_with_the_large_matrix(size: tuple[int, int], side: int) -> None:
    torch.manual_seed(0)
    block = fbkd.NonLocal(6, 2, side)
    torch.nn.init.ones_(block.scale.weight)
    some = maps(0, 2, 6, *size)
    key, value = (
        F.max_pool2d(layer(some), side, ceil_mode=True).flatten(2) for layer in (block.key, block.value)
    )
    similarity = block.query(some).flatten(2).transpose(1, 2) @ key / key.shape[2]  # [B, cells, windows]
    mixed = (similarity @ value.transpose(1, 2)).transpose(1, 2).reshape(2, 3, *size)
    torch.testing.assert_close(block(some), some + block.scale(block.out(mixed)), rtol=1e-4, atol=1e-5)


def test_a_block_starts_by_adding_nothing() -> None:
    some = maps(0, 2, 6, 4, 4)
    assert torch.equal(fbkd.NonLocal(6, 2, 2)(some), some)


def test_widths_may_differ(one_level: OneLevel) -> None:
    values = terms(one_level(2, 5), maps(0, 2, 2, 4, 4), maps(1, 2, 5, 4, 4), adapter="conv1x1")
    assert all(torch.isfinite(value) for value in values.values())


@pytest.mark.parametrize("name", ["subsample", "reduction"])
def test_settings_for_another_number_of_levels_are_refused(one_level: OneLevel, name: str) -> None:
    with pytest.raises(UsageError, match=f"fbkd's {name} has 2 entries, the model has 1 levels"):
        terms(one_level(2), maps(0, 1, 2, 4, 4), maps(1, 1, 2, 4, 4), **{name: (2, 2)})
