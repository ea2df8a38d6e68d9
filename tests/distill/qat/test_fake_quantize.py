"""Rounding with a gradient: what an engine does forward, the published gradients backward."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from distill.qat.fake_quantize import FakeQuantize
from edgestill.quantization import ANY_CPU_RANGE, FULL_RANGE, WeightRange, overflows_int16
from export.quantize.weight_scale import nearest, weight_scale


def steps(value: float = 0.5, low: int = -4, high: int = 3, **more: float) -> FakeQuantize:
    return FakeQuantize(torch.tensor(value), low, high, speed=more.get("speed", 1.0))


def test_numbers_go_to_the_nearest_byte_and_halves_to_the_even_one() -> None:
    x = torch.tensor([0.2, 0.25, 0.75, -0.26, 1.4, 9.0, -9.0])
    assert steps()(x).tolist() == [0.0, 0.0, 1.0, -0.5, 1.5, 1.5, -2.0]


def test_only_what_is_clipped_gets_no_gradient() -> None:
    x = torch.tensor([0.3, 1.6, 1.74, 1.76, -2.2, -2.3], requires_grad=True)
    steps()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1, 1, 0, 1, 0]


def test_the_step_learns_from_rounding_and_from_clipping() -> None:
    """Source: equation 3 of the paper, by hand; the logarithm multiplies it by the step."""
    x = torch.tensor([0.3, 1.2, 9.0, -9.0], requires_grad=True)
    one = steps(speed=2.0)
    one(x).sum().backward()
    by_hand = (1 - 0.6) + (2 - 2.4) + 3 - 4
    assert one.growth.grad is not None
    assert one.growth.grad.item() == pytest.approx(2.0 * 0.5 * by_hand / math.sqrt(4 * 3), rel=1e-5)


def test_a_weight_has_a_step_for_each_output_channel() -> None:
    one = FakeQuantize(torch.tensor([0.5, 0.1]), -127, 127, speed=1.0)
    weight = torch.full((2, 3, 1, 1), 0.26)
    out = one(weight)
    out.sum().backward()
    assert out[:, 0, 0, 0].tolist() == pytest.approx([0.5, 0.3])
    assert one.growth.grad is not None
    only = FakeQuantize(torch.tensor(0.1), -127, 127, speed=1.0)
    only(weight[1:]).sum().backward()
    assert only.growth.grad is not None
    torch.testing.assert_close(one.growth.grad[1], only.growth.grad)


def test_a_known_step_is_not_learnt() -> None:
    known = FakeQuantize(torch.tensor(1 / 255), 0, 255, speed=1.0, is_learned=False)
    assert not list(known.parameters())


def test_bf16_is_rounded_in_float32() -> None:
    """Divided in bf16, whose eight bits end there, the upper bytes would be off by one."""
    x = torch.linspace(0, 2.5, 300).to(torch.bfloat16)
    one = FakeQuantize(torch.tensor(0.01), 0, 255, speed=1.0)
    assert torch.equal(one(x), one(x.float()).to(torch.bfloat16))
    assert one(x).dtype == torch.bfloat16


def test_a_step_grows_by_a_share_of_itself() -> None:
    """One step of Adam moves a large and a small step alike."""
    grown = []
    for size in (0.5, 0.005):
        one = steps(size, speed=10.0)
        optimiser = torch.optim.AdamW(one.parameters(), lr=1e-3)
        one(torch.tensor([9.0 * size])).sum().backward()
        optimiser.step()
        grown.append(one.step.item() / size)
    assert grown == pytest.approx([math.exp(-0.01)] * 2, rel=1e-4)


def test_of_two_weights_that_are_too_large_together_the_second_gives_way() -> None:
    one = FakeQuantize(torch.tensor([1.0]), -127, 127, speed=1.0, pair=128)
    weight = torch.tensor([100.0, 60.0, 100.0, -60.0, -70.0, -70.0, 127.0, 1.0]).view(1, 8, 1, 1)
    weight.requires_grad_()
    out = one(weight)
    assert out.flatten().tolist() == [100, 28, 100, -60, -70, -58, 127, 1]
    out.sum().backward()
    assert weight.grad is not None
    assert weight.grad.flatten().tolist() == [1, 0, 1, 1, 1, 0, 1, 1]
    assert one.growth.grad is not None
    # Of the two that gave way what they were clipped to, as of any clipped number.
    assert one.growth.grad.item() == pytest.approx((28 - 58) / math.sqrt(8 * 127), rel=1e-5)


@pytest.mark.parametrize("limit", [ANY_CPU_RANGE, FULL_RANGE], ids=["pairs", "wide"])
def test_weights_are_rounded_as_an_export_rounds_them(limit: WeightRange) -> None:
    weight = np.random.default_rng(0).normal(0, 1, (6, 8, 3, 3)).astype(np.float32)
    scale = weight_scale(weight, limit) * np.float32(0.7)  # as a training may leave it: too fine
    one = FakeQuantize(torch.tensor(scale), -limit.largest, limit.largest, speed=1.0, pair=limit.pair)
    ours = one(torch.tensor(weight)).detach().numpy()
    np.testing.assert_array_equal(ours, nearest(weight, scale, limit) * scale.reshape(-1, 1, 1, 1))
    assert limit is FULL_RANGE or not overflows_int16(nearest(weight, scale, limit))
