"""How many samples a percentile needs: the published table, and the bound's own promise."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.statistics.percentiles import least_samples, percentile, upper_rank


@pytest.mark.parametrize(
    ("fraction", "rank", "samples"),
    [
        (0.5, 1, 7),
        (0.5, 2, 11),
        (0.5, 20, 57),
        (0.9, 1, 44),
        (0.9, 2, 64),
        (0.9, 10, 183),
        (0.95, 1, 90),
        (0.95, 5, 229),
        (0.99, 1, 459),
        (0.99, 2, 662),
        (0.99, 3, 838),
        (0.99, 20, 3179),
        (0.999, 1, 4603),
    ],
)
def test_the_least_number_of_samples_is_that_of_the_table(fraction: float, rank: int, samples: int) -> None:
    assert least_samples(fraction, rank) == samples


@pytest.mark.parametrize(("fraction", "samples"), [(0.5, 7), (0.9, 44), (0.99, 459)])
def test_one_sample_less_and_there_is_no_value_but_a_reason(fraction: float, samples: int) -> None:
    p = percentile([1.0] * (samples - 1), fraction)
    assert (p.value, p.lower, p.upper) == (None, None, None)
    assert p.reason is not None
    assert f"needs {samples} samples" in p.reason


def test_with_just_enough_samples_the_maximum_is_the_bound() -> None:
    samples = [float(v) for v in range(459)]
    p = percentile(samples, 0.99)
    assert (p.upper, p.reason) == (458.0, None)


def test_no_samples_at_all_give_no_value() -> None:
    assert percentile([], 0.5).value is None


def test_the_estimate_lies_below_its_bound() -> None:
    p = percentile(list(np.random.default_rng(0).exponential(size=2000)), 0.99)
    assert p.value is not None
    assert p.upper is not None
    assert p.value < p.upper


def test_a_hundred_thousand_samples_do_not_underflow() -> None:
    assert 900 < upper_rank(100_000, 0.99) < 1000


def test_the_bound_holds_in_99_of_100_experiments() -> None:
    rng = np.random.default_rng(3)
    n, true_p90 = 200, -np.log(0.1)  # of the exponential distribution
    held = sum((percentile(list(rng.exponential(size=n)), 0.9).upper or 0.0) >= true_p90 for _ in range(1000))
    assert held >= 980


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.99])
def test_the_lower_bound_holds_in_99_of_100_experiments(fraction: float) -> None:
    rng = np.random.default_rng(4)
    n, true = 500, -np.log(1 - fraction)  # of the exponential distribution
    bounds = [percentile(list(rng.exponential(size=n)), fraction).lower for _ in range(1000)]
    assert sum(bound <= true for bound in bounds if bound is not None) >= 980
    assert None not in bounds


def test_the_bounds_of_the_median_are_the_sign_tests() -> None:
    # P[Bin(100, 0.5) <= 37] = 0.0060, <= 38 = 0.0105: the 38th from either end, 1-based
    p = percentile([float(v) for v in range(1, 101)], 0.5)
    assert (p.lower, p.upper) == (38.0, 63.0)
