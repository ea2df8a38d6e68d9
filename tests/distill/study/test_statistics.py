"""The tests of a study, against figures from elsewhere."""

from __future__ import annotations

from math import atan, cos, isnan, nan, pi, sin, sqrt

import numpy as np
import pytest

from distill.study.statistics import (
    MOST_PAIRS,
    Power,
    holm,
    paired_t,
    percentile_test,
    power_of,
    t_quantile,
    t_two_sided,
)


@pytest.mark.parametrize(
    ("t", "freedom", "p"),
    [  # from SciPy 1.17: 2 * t.sf(t, freedom)
        (1.0, 1, 0.5),
        (12.706, 1, 0.05000080235813),
        (2.5, 2, 0.12961172022151),
        (4.303, 2, 0.04999252498521),
        (2.0, 3, 0.13932596855884),
        (2.776, 4, 0.05002277831998),
        (0.3, 9, 0.77099070374152),
        (3.0, 30, 0.00538996406565),
    ],
)
def test_students_t_is_that_of_the_tables(t: float, freedom: int, p: float) -> None:
    assert t_two_sided(t, freedom) == pytest.approx(p, abs=1e-12)
    assert t_two_sided(-t, freedom) == t_two_sided(t, freedom)
    assert t_quantile(1 - p / 2, freedom) == pytest.approx(t, rel=1e-9)


@pytest.mark.parametrize("t", [0.0, 1e-3, 0.5, 1.0, 3.2, 12.7, 80.0])
def test_students_t_has_the_closed_forms_of_few_degrees_of_freedom(t: float) -> None:
    # M. Abramowitz and I. Stegun, Handbook of Mathematical Functions (1964), 26.7.3 and 26.7.4
    angle = {freedom: atan(t / sqrt(freedom)) for freedom in (1, 2, 3, 4)}
    within = {
        1: 2 / pi * angle[1],
        2: sin(angle[2]),
        3: 2 / pi * (angle[3] + sin(angle[3]) * cos(angle[3])),
        4: sin(angle[4]) * (1 + cos(angle[4]) ** 2 / 2),
    }
    for freedom, probability in within.items():
        assert t_two_sided(t, freedom) == pytest.approx(1 - probability, abs=1e-9)
        if 0 < probability < 0.999:
            assert t_quantile((1 + probability) / 2, freedom) == pytest.approx(t, rel=1e-9)


@pytest.mark.parametrize(
    ("differences", "low", "high", "p"),
    [  # as this project computed them before it used SciPy
        ([0.012, 0.018], -0.023118614208528003, 0.053118614208528, 0.12566591637800228),
        ([0.012, -0.004, 0.021], -0.021788180454379354, 0.041121513787712685, 0.31703234761918786),
        ([0.3, 0.1, -0.2, 0.05], -0.264734051580355, 0.389734051580355, 0.5862251193550214),
        (
            [0.01, 0.011, 0.0123, 0.009, 0.0101],
            0.008940637074118286,
            0.012019362925881714,
            4.6137437478721566e-05,
        ),
        ([1, -2, 3, -4, 5, -6, 7.5], -3.893558278075695, 5.179272563789981, 0.7406146540377105),
    ],
)
def test_intervals_and_p_stay_what_they_were(
    differences: list[float], low: float, high: float, p: float
) -> None:
    test = paired_t(differences)
    assert (test.low, test.high, test.p) == pytest.approx((low, high, p), abs=1e-9)


def test_a_paired_t_test_is_the_textbooks() -> None:
    # Differences 1, 2, 3: mean 2, standard error 1 / sqrt(3), t = 3.4641 with 2 degrees of freedom.
    test = paired_t([1.0, 2.0, 3.0])
    assert (test.n, test.mean) == (3, 2.0)
    assert test.p == pytest.approx(0.0741799, abs=1e-7)
    assert (test.low, test.high) == (pytest.approx(-0.484138, abs=1e-6), pytest.approx(4.484138, abs=1e-6))


def test_one_pair_tells_nothing_about_chance() -> None:
    test = paired_t([1.0])
    assert test.mean == 1.0
    assert isnan(test.p)
    assert isnan(test.low)


def test_differences_without_spread_need_no_division() -> None:
    assert paired_t([0.0, 0.0]).p == 1.0
    assert paired_t([0.5, 0.5]).p == 0.0


@pytest.mark.parametrize(
    ("effect_size", "n", "power"),
    [  # J. Cohen (1988), table 2.3.5, and G*Power 3.1: two-sided, 0.05, matched pairs
        (0.5, 34, 0.8078),
        (0.8, 15, 0.8213),
        (1.0, 10, 0.8031),
    ],
)
def test_power_is_that_of_the_tables(effect_size: float, n: int, power: float) -> None:
    differences = np.linspace(-1, 1, n)
    differences *= 1 / np.std(differences, ddof=1)
    found = power_of(differences.tolist(), effect_size)
    assert found.found == pytest.approx(power, abs=2e-4)
    assert found.needed == n


def test_power_is_how_often_the_test_finds_the_difference() -> None:
    rng = np.random.default_rng(3)
    drawn = rng.normal(1.0, 1.2, (4000, 6))
    share = np.mean([paired_t(row).p < 0.05 for row in drawn[:1000]])
    standard = (drawn[0] - drawn[0].mean()) / drawn[0].std(ddof=1) * 1.2
    assert power_of(standard.tolist(), 1.0).found == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize(
    "differences", [[1.0], [0.1, 0.4], [0.5, 0.5, 0.5], [0.1, 0.1, 0.1], [nan, nan, nan]]
)
def test_the_power_of_pairs_without_a_spread_is_not_known(differences: list[float]) -> None:
    found = power_of(differences, 0.02)
    assert isnan(found.found)
    assert found.needed is None


def test_a_spread_that_hides_the_effect_needs_more_than_the_most_pairs() -> None:
    assert power_of([-1.0, 0.0, 1.0], 1e-3).needed == MOST_PAIRS + 1
    assert power_of([0.1, 0.100001, 0.1], 0.02) == Power(found=pytest.approx(1.0), needed=2)


def test_the_bootstrap_counts_resamples_on_the_other_side_of_zero() -> None:
    resampled = np.concatenate((np.full(10, -1.0), np.full(990, 1.0), np.full(5, nan)))
    test = percentile_test(0.9, resampled)
    assert (test.n, test.mean) == (1000, 0.9)
    assert test.p == pytest.approx(2 * 11 / 1001)
    assert (test.low, test.high) == (1.0, 1.0)
    assert percentile_test(0.0, np.zeros(100)).p == 1.0
    assert percentile_test(0.1, np.full(99, 1.0)).p == pytest.approx(0.02)  # never 0
    assert isnan(percentile_test(0.1, np.full(3, nan)).p)


def test_holms_correction_is_his_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    corrected = holm([nan, 0.02])
    assert isnan(corrected[0])
    assert corrected[1] == 0.02
    assert holm([]) == []
