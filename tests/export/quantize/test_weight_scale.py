"""Bytes of weights stay within what a CPU adds right, and use all the room there is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgestill.quantization import ANY_CPU_RANGE, FULL_RANGE, MAX_PAIR_SUM, WeightRange, overflows_int16
from export.quantize.gptq import gptq_rounded
from export.quantize.weight_scale import nearest, weight_scale

SEVEN_BITS = WeightRange(largest=64)


def weights(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def largest_pair(values: Any) -> int:
    """Channels 2i and 2i + 1, written out."""
    found = 0
    for kernel in values.astype(int):
        for first, second in zip(kernel[::2], kernel[1::2], strict=True):
            for a, b in zip(first.ravel(), second.ravel(), strict=True):
                found = max(found, abs(a + b) if a * b > 0 else 0)
    return found


@pytest.mark.parametrize("shape", [(16, 12, 3, 3), (8, 64, 1, 1)])
def test_no_pair_of_bytes_is_beyond_16_bits(shape: tuple[int, ...]) -> None:
    weight = weights(*shape)
    moments = np.cov(weights(weight[0].size, 2000, seed=1)) * 2000
    for made in (
        nearest(weight, weight_scale(weight, ANY_CPU_RANGE), ANY_CPU_RANGE),
        gptq_rounded(weight, moments, ANY_CPU_RANGE),
    ):
        assert 120 < largest_pair(made) <= MAX_PAIR_SUM
        assert not overflows_int16(made)


def test_steps_are_much_finer_than_those_of_seven_bits() -> None:
    weight = weights(64, 64, 3, 3)
    ours, seven, eight = (weight_scale(weight, limit) for limit in (ANY_CPU_RANGE, SEVEN_BITS, FULL_RANGE))
    assert np.median(ours / seven) < 0.7
    assert (ours >= eight).all()


def test_a_kernel_without_large_neighbours_has_all_eight_bits() -> None:
    weight = weights(4, 8, 1, 1) / 100
    weight[:, 2] = 1
    np.testing.assert_allclose(
        weight_scale(weight, ANY_CPU_RANGE), weight_scale(weight, FULL_RANGE), rtol=0.02
    )


def test_neighbours_of_different_signs_bind_nobody() -> None:
    weight = np.tile(np.array([1, -1], np.float32), 4).reshape(1, 8, 1, 1)
    assert weight_scale(weight, ANY_CPU_RANGE) == weight_scale(weight, FULL_RANGE)
    assert not overflows_int16(np.tile(np.array([127, -127], np.int8), 4).reshape(1, 8, 1, 1))


def test_three_channels_have_seven_bits_because_nobody_says_who_is_beside_whom() -> None:
    weight = weights(16, 3, 6, 6)
    assert ANY_CPU_RANGE.of(weight.shape) == SEVEN_BITS
    assert FULL_RANGE.of(weight.shape) == FULL_RANGE
    made = gptq_rounded(weight, np.eye(108), ANY_CPU_RANGE)
    assert np.abs(made.astype(int)).max() == 64
    assert not overflows_int16(made)


@pytest.mark.parametrize(
    ("channels", "wide"), [((100, 28), False), ((100, 29), True), ((-100, -29), True), ((0, 127), False)]
)
def test_bytes_of_others_are_told_apart(channels: tuple[int, int], wide: bool) -> None:
    stored = np.tile(np.array(channels, np.int8), 4).reshape(1, 8, 1, 1)
    assert overflows_int16(stored) == wide
    assert overflows_int16(stored[:, :2])  # two channels: who is beside whom is not known
    assert overflows_int16(stored.reshape(1, 8))  # nor in a matrix
