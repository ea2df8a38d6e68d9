"""The steady state is found where it begins, and noise alone gives no cut, no drift and no correlation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.statistics.steady_state import doubts, drift, effective_samples, truncation


def noise(seed: int, count: int = 300, spread: float = 0.02) -> np.ndarray:
    return 10 * (1 + spread * np.random.default_rng(seed).standard_normal(count))


def autoregressive(seed: int, count: int, rho: float) -> np.ndarray:
    """AR(1) with unit innovations: n samples are worth n (1 - rho) / (1 + rho)."""
    rng = np.random.default_rng(seed)
    values = np.empty(count)
    values[0] = rng.standard_normal() / np.sqrt(1 - rho**2)
    for k in range(1, count):
        values[k] = rho * values[k - 1] + rng.standard_normal()
    return values


@pytest.mark.parametrize("slow", [10, 25, 60, 100])
@pytest.mark.parametrize("factor", [1.1, 1.5, 0.8])
def test_a_slow_or_fast_beginning_is_cut_where_it_ends(slow: int, factor: float) -> None:
    times = noise(1)
    times[:slow] *= factor
    cut = truncation(list(times))
    assert cut is not None
    assert slow - 5 <= cut <= slow + 15  # noise beside the end of it may be cut with it, never much less


def test_a_decaying_beginning_is_cut_where_it_is_lost_in_the_noise() -> None:
    times = noise(2) * (1 + np.exp(-np.arange(300) / 15))
    cut = truncation(list(times))
    assert cut is not None
    assert 30 <= cut <= 100


def test_noise_alone_is_hardly_ever_cut() -> None:
    assert sum(truncation(list(noise(seed))) != 0 for seed in range(100)) <= 3


def test_times_that_change_until_late_have_no_steady_state() -> None:
    times = noise(3)
    times[:220] *= 1.3
    assert truncation(list(times)) is None


@given(st.integers(0, 19), st.integers(0, 99))
def test_too_few_samples_are_not_cut(count: int, seed: int) -> None:
    assert truncation(list(noise(seed, count, 0.5))) == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(20, 400), st.integers(0, 99))
def test_a_cut_keeps_half_at_least(count: int, seed: int) -> None:
    cut = truncation(list(noise(seed, count, 0.5)))
    assert cut is None or 0 <= cut <= count / 2 + 5


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8, 0.9])
def test_correlated_samples_are_worth_what_theory_says(rho: float) -> None:
    found = [effective_samples(list(autoregressive(seed, 4000, rho))) for seed in range(10)]
    assert np.median(found) == pytest.approx(4000 * (1 - rho) / (1 + rho), rel=0.15)


def test_samples_that_alternate_are_worth_no_more_than_their_number() -> None:
    assert effective_samples([1.0, 2.0] * 50) == 100
    assert effective_samples([1.0] * 50) == 50
    assert effective_samples([]) == 0


@pytest.mark.parametrize("change", [0.1, -0.1])
def test_a_planted_trend_is_measured(change: float) -> None:
    times = noise(4) * (1 + change * np.linspace(-0.5, 0.5, 300))
    found = drift(list(times))
    assert found.trend == pytest.approx(change, abs=0.015)
    assert found.p_value < 1e-6
    assert found.is_large


def test_a_step_is_a_drift_too() -> None:
    times = noise(5, spread=0.005)
    times[150:] *= 1.08
    (doubt,) = [d for d in doubts(list(times), "inference time") if "drift" in d]
    assert doubt.startswith(
        "the median inference time of the second half is +8% from the first: a drift (trend "
    )


def test_a_trend_is_rarely_seen_in_noise_that_has_none() -> None:
    white = sum(drift(list(noise(seed))).p_value < 0.05 for seed in range(200))
    slow = sum(drift(list(10 + 0.1 * autoregressive(seed, 300, 0.6))).p_value < 0.05 for seed in range(200))
    assert white <= 20
    assert slow <= 40  # uncorrected it would be half of them


def test_correlation_is_a_doubt_with_its_figures() -> None:
    (doubt,) = doubts(list(100 + autoregressive(1, 2000, 0.9)), "inference time")
    assert doubt.startswith("the inference times are correlated: 2000 samples are worth ")
    assert doubts(list(noise(6)), "inference time") == []


def test_thousands_of_samples_are_thinned_for_the_trend() -> None:
    found = drift(list(noise(7, 20_000) * np.linspace(0.95, 1.05, 20_000)))
    assert found.trend == pytest.approx(0.1, abs=0.01)
