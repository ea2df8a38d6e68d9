"""Weights are rounded so that what a convolution computes changes least."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgestill.quantization import ANY_CPU_RANGE, FULL_RANGE, WeightRange
from export.quantize.gptq import ENOUGH, POSITIONS, GptqQuantiser, gptq_rounded
from export.quantize.qdq import quantise_weights
from export.quantize.weight_scale import weight_scale


def correlated(rng: np.random.Generator, samples: int, inputs: int) -> Any:
    """Inputs that go together, as those of neighbouring pixels and of channels do."""
    return rng.normal(0, 1, (samples, 6)) @ rng.normal(0, 1, (6, inputs)) + rng.normal(
        0, 0.2, (samples, inputs)
    )


@pytest.mark.parametrize("limit", [ANY_CPU_RANGE, FULL_RANGE, WeightRange(largest=64)])
def test_the_output_changes_less_than_with_the_nearest_bytes(limit: WeightRange) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (16, 12, 3, 3)).astype(np.float32)
    seen, other = np.split(correlated(rng, 8000, 108), 2)
    chosen = gptq_rounded(weight, seen.T @ seen, limit)
    scale = weight_scale(weight, limit)[:, None]

    def error(values: Any) -> float:
        back = values.reshape(16, -1) * scale - weight.reshape(16, -1)
        return float(np.square(other @ back.T).mean())

    nearest = quantise_weights(weight, np.zeros(16, np.float32), np.zeros(12), limit).values
    assert error(chosen) < 0.3 * error(nearest)
    assert np.abs(chosen.astype(int)).max() <= limit.largest
    assert np.abs(chosen.astype(int) - nearest).max() < limit.largest / 4


def test_inputs_that_do_not_go_together_leave_the_nearest_bytes() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (4, 10, 1, 1)).astype(np.float32)
    nearest = quantise_weights(weight, np.zeros(4, np.float32), np.zeros(10), FULL_RANGE).values
    np.testing.assert_array_equal(gptq_rounded(weight, np.eye(10) * 1000.0, FULL_RANGE), nearest)


def test_a_channel_that_was_never_seen_is_rounded_all_the_same() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (4, 10, 1, 1)).astype(np.float32)
    moments = np.eye(10) * 1000.0
    moments[3] = 0
    assert gptq_rounded(weight, np.zeros((10, 10)), WeightRange(largest=64)).any()
    nearest = quantise_weights(weight, np.zeros(4, np.float32), np.zeros(10), WeightRange(largest=64)).values
    np.testing.assert_array_equal(gptq_rounded(weight, moments, WeightRange(largest=64)), nearest)


def test_the_moments_are_those_of_what_the_convolution_multiplies(float_model: Any, feeds: Any) -> None:
    """Border, stride and the order of a patch are the convolution's: its own weights give its own output."""
    first = "model.0.conv"
    found = GptqQuantiser(float_model, [first])
    assert found.sources == {"images"}
    layer = found._layers[first]
    patches = layer.patches(feeds[0], np.random.default_rng(0))
    assert patches.shape == (POSITIONS, 3 * 6 * 6)
    padded = np.pad(feeds[0][0], ((0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (6, 6), axis=(1, 2))[:, ::2, ::2]
    there = {w.tobytes() for w in windows.transpose(1, 2, 0, 3, 4).reshape(-1, 108).astype(np.float64)}
    assert {p.tobytes() for p in patches} <= there


def test_little_that_was_seen_decides_nothing(float_model: Any, feeds: Any) -> None:
    found = GptqQuantiser(float_model, ["model.0.conv"])
    found.add({"images": feeds[0]})
    assert POSITIONS < ENOUGH * 108
    assert found.quantised(FULL_RANGE) == {}
    for feed in feeds[1:4]:
        found.add({"images": feed})
    made = found.quantised(FULL_RANGE)["model.0.conv"]
    assert made.dtype == np.int8
    assert made.shape == (16, 3, 6, 6)


def test_rounding_repeats(float_model: Any, feeds: Any) -> None:
    made = []
    for _ in range(2):
        found = GptqQuantiser(float_model, ["model.0.conv"])
        for feed in feeds[:4]:
            found.add({"images": feed})
        made.append(found.quantised(ANY_CPU_RANGE)["model.0.conv"].tobytes())
    assert made[0] == made[1]
