"""Channel-wise distillation against its formula, and the form of the published recipe."""

from __future__ import annotations

from collections.abc import Callable
from math import log

import pytest
import torch
from torch import Tensor, nn

from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods import _maps, cwd

OneLevel = Callable[..., StudentTeacherInfo]
NO_TARGETS = torch.zeros(0, 6)


def maps(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_it_is_a_mean_over_images_and_channels_times_temperature_squared(
    one_level: OneLevel, temperature: float
) -> None:
    student, teacher = maps(0, 2, 3, 4, 4), maps(1, 2, 3, 4, 4)
    total = 0.0
    for q, p in zip(
        (student.view(6, 16) / temperature).softmax(1),
        (teacher.view(6, 16) / temperature).softmax(1),
        strict=True,
    ):
        total += sum(float(a) * log(float(a) / float(b)) for a, b in zip(p, q, strict=True))
    config = cwd.Config(normalise=False, temperature=temperature, adapter="identity")
    value = cwd.Loss(config, one_level(3))(
        NetworkOutputs({"p3": student}, []), NetworkOutputs({"p3": teacher}, []), NO_TARGETS
    )
    assert float(value["p3"]) == pytest.approx(temperature**2 * total / 6, rel=1e-4)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("batch", [3, 9])
def test_its_own_gradient_is_that_of_the_plain_formula(batch: int, normalise: bool) -> None:
    student, teacher = maps(0, batch, 3, 4, 4).double(), 3 * maps(1, batch, 3, 4, 4).double()

    def plain(some: Tensor) -> Tensor:
        prepared = [_maps.standardise(m) if normalise else m for m in (some, teacher)]
        log_q, log_p = ((m.flatten(2) / 2).log_softmax(2) for m in prepared)
        return 4 * (log_p.exp() * (log_p - log_q)).sum(2).mean()

    def own(some: Tensor) -> Tensor:
        return _maps.channel_divergence(some, teacher, 2.0, normalise=normalise)

    found = []
    for formula in (plain, own):
        leaf = (2 * student + 1).requires_grad_()
        value = formula(leaf)
        (3 * value).backward()
        found.append((value, leaf.grad))
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(leaf, 2 * student + 1)


def test_a_channel_that_is_the_same_everywhere_costs_nothing() -> None:
    flat = torch.full((2, 3, 4, 4), 7.0, requires_grad=True)
    value = _maps.channel_divergence(flat, flat.detach() + 1, 1.0, normalise=True)
    value.backward()
    assert float(value.detach()) == pytest.approx(0, abs=1e-3)  # of logits of 2000
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


def test_the_default_is_the_published_recipe(one_level: OneLevel) -> None:
    config = cwd.Config()
    assert (config.weight, config.temperature, config.normalise) == (1.0, 1.0, True)
    layer = cwd.Loss(config, one_level(2, 5)).align["p3"]
    assert isinstance(layer, nn.Conv2d)
    assert layer.kernel_size == (1, 1)
    assert layer.bias is None


def value(pair: StudentTeacherInfo, student: Tensor, teacher: Tensor, *, normalise: bool) -> Tensor:
    loss = cwd.Loss(cwd.Config(adapter="identity", normalise=normalise), pair)
    return loss(NetworkOutputs({"p3": student}, []), NetworkOutputs({"p3": teacher}, []), NO_TARGETS)["p3"]


def test_it_takes_no_notice_of_a_shifted_channel(one_level: OneLevel) -> None:
    student, teacher, pair = maps(0, 2, 6, 8, 12), maps(1, 2, 6, 8, 12), one_level(6)
    shifted = student + torch.arange(6.0).view(1, 6, 1, 1)
    torch.testing.assert_close(
        value(pair, shifted, teacher, normalise=False), value(pair, student, teacher, normalise=False)
    )


def test_only_the_normalised_form_takes_no_notice_of_a_channels_scale(one_level: OneLevel) -> None:
    student, teacher, pair = maps(0, 2, 6, 8, 12), maps(1, 2, 6, 8, 12), one_level(6)
    torch.testing.assert_close(
        value(pair, 5 * student - 2, teacher, normalise=True),
        value(pair, student, teacher, normalise=True),
        rtol=1e-3,
        atol=1e-5,
    )
    plain = value(pair, student, teacher, normalise=False)
    assert value(pair, 5 * student, teacher, normalise=False) > 2 * plain


def test_maps_as_the_networks_made_them_cost_what_their_float32_copies_cost(one_level: OneLevel) -> None:
    shapes = ((2, 4, 8, 8), (2, 4, 8, 8))
    student, teacher = (
        maps(seed, *shape).bfloat16().to(memory_format=torch.channels_last)
        for seed, shape in enumerate(shapes)
    )
    found = []
    for kept in (False, True):
        leaf = student.clone(memory_format=torch.preserve_format).requires_grad_()
        sides = [NetworkOutputs({"p3": side}, []) for side in (leaf, teacher)]
        views = [
            side.in_float32() if kept else NetworkOutputs({"p3": side.features["p3"].float()}, [])
            for side in sides
        ]
        loss = cwd.Loss(cwd.Config(adapter="identity"), one_level(4))
        value = loss(*views, NO_TARGETS)["p3"]
        value.backward()
        found.append((value, leaf.grad))
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[0][1], found[1][1])
    assert found[1][1].is_contiguous(memory_format=torch.channels_last)
