"""Ranges hold zero, clip what should be clipped, and tell their noise."""

import numpy as np
import pytest

from export.quantize.calibration.observer import Histogram
from export.quantize.ranges import (
    Range,
    best_range,
    best_symmetric,
    covering,
    noise_db,
    silu,
    symmetric,
    whole_range,
)


def histogram_of(values: np.ndarray) -> Histogram:
    histogram = Histogram()
    histogram.add(values.astype(np.float32))
    return histogram


@pytest.mark.parametrize("used", [Range(-0.28, 17.3), Range(0.0, 1.0), Range(-8.0, 3.1), Range(0.0, 0.0)])
def test_zero_is_exact(used: Range) -> None:
    assert used.fake_quantised(np.zeros(1))[0] == 0


def test_rounding_moves_a_value_by_half_a_step_at_most() -> None:
    used = Range(-0.28, 17.3)
    values = np.linspace(-0.27, 17.2, 1000)
    assert np.abs(used.fake_quantised(values) - values).max() <= used.scale * 0.5001


def test_pixels_are_exact_bytes() -> None:
    pixels = np.arange(256) / 255
    np.testing.assert_allclose(Range(0.0, 1.0).fake_quantised(pixels), pixels, atol=1e-12)


def test_a_lonely_outlier_is_clipped() -> None:
    values = np.random.default_rng(0).normal(0, 1, 1_000_000).clip(-0.28)
    values[1] = 200.0
    assert best_range(histogram_of(values)).high < 30


def test_a_tail_that_costs_little_is_kept() -> None:
    values = np.random.default_rng(0).uniform(0, 6, 30_000)
    assert best_range(histogram_of(values)).high > 5.9


def test_a_higher_price_buys_a_wider_range() -> None:
    histogram = histogram_of(np.random.default_rng(0).exponential(1, 30_000))
    assert best_range(histogram, widen=1.0).high < best_range(histogram, widen=2.0).high


def test_a_constant_tensor_has_a_range() -> None:
    assert best_range(histogram_of(np.zeros(100))).scale > 0


def test_noise_is_that_of_a_uniform_error() -> None:
    values = np.random.default_rng(0).uniform(0, 1, 30_000)
    # signal 1/3, error step^2 / 12 with step 1/255: 10 log10(4 * 255^2) dB
    assert noise_db(histogram_of(values), Range(0.0, 1.0)) == pytest.approx(54.2, abs=0.3)


def test_noise_behind_silu_forgives_what_silu_removes() -> None:
    histogram = histogram_of(np.random.default_rng(0).normal(0, 6, 30_000))
    clipped = Range(-8.0, histogram.high)
    assert noise_db(histogram, clipped, silu) > noise_db(histogram, clipped) + 10


def test_a_shared_range_covers_all() -> None:
    assert covering([Range(-0.28, 3.0), Range(0.0, 7.0)]) == Range(-0.28, 7.0)


def test_the_whole_range_holds_zero_for_a_positive_tensor() -> None:
    assert whole_range(histogram_of(np.array([2.0, 3.0]))).low == 0


def test_a_symmetric_range_is_the_grid_of_a_signed_byte() -> None:
    used = symmetric(12.7)
    assert used.zero == 128
    np.testing.assert_allclose(used.scale, 0.1)
    np.testing.assert_allclose(
        used.fake_quantised(np.array([-20.0, -0.04, 0.0, 0.06, 20.0])), [-12.8, 0, 0, 0.1, 12.7]
    )


def test_the_best_symmetric_range_clips_what_is_rare() -> None:
    values = np.random.default_rng(0).normal(0, 1, 300_000).astype(np.float32)
    values[1] = 20.0
    histogram = Histogram()
    histogram.add(values)
    assert 3.0 < best_symmetric(histogram).high < 10.0


def test_a_symmetric_range_holds_values_below_zero_too() -> None:
    histogram = Histogram()
    histogram.add(np.linspace(-5, 1, 1000, dtype=np.float32))
    assert best_symmetric(histogram, widen=1e9).high == pytest.approx(5.0)


def test_cubes_clip_less_than_squares_and_count_rounding_as_it_is() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(0, 1, 100_000), np.linspace(5, 20, 200)])
    histogram = Histogram()
    histogram.add(values.astype(np.float32))
    squares, cubes = (best_symmetric(histogram, power=power) for power in (2.0, 3.0))
    assert squares.high < cubes.high
    errors = {
        used.high: float((np.abs(used.fake_quantised(values) - values) ** 3).mean())
        for used in map(symmetric, np.linspace(2, 20, 60))
    }
    best = min(errors, key=lambda high: errors[high])
    assert cubes.high == pytest.approx(best, rel=0.1)
