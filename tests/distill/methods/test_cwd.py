"""Channel-wise distillation against its formula, and the form of the published recipe."""

from __future__ import annotations

from collections.abc import Callable
from math import log

import pytest
import torch
from torch import Tensor, nn

from distill.methods import cwd
from distill.views import Pair, View

OneLevel = Callable[..., Pair]
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
    value = cwd.Loss(config, one_level(3))(View({"p3": student}, []), View({"p3": teacher}, []), NO_TARGETS)
    assert float(value["p3"]) == pytest.approx(temperature**2 * total / 6, rel=1e-4)


def test_normalised_maps_have_mean_0_and_variance_1() -> None:
    some = cwd.standardise(5 * maps(0, 4, 3, 6, 6) + 2)
    torch.testing.assert_close(some.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(some.var((0, 2, 3), correction=0), torch.ones(3), rtol=1e-4, atol=0)


def test_the_default_is_the_published_recipe(one_level: OneLevel) -> None:
    config = cwd.Config()
    assert (config.weight, config.temperature, config.normalise) == (1.0, 1.0, True)
    layer = cwd.Loss(config, one_level(2, 5)).align["p3"]
    assert isinstance(layer, nn.Conv2d)
    assert layer.kernel_size == (1, 1)
    assert layer.bias is None


def value(pair: Pair, student: Tensor, teacher: Tensor, *, normalise: bool) -> Tensor:
    loss = cwd.Loss(cwd.Config(adapter="identity", normalise=normalise), pair)
    return loss(View({"p3": student}, []), View({"p3": teacher}, []), NO_TARGETS)["p3"]


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
