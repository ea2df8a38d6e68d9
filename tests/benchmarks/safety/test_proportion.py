"""Shares with exact intervals, against scipy."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.safety.proportion import CONFIDENCE, Proportion, paired_p


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_that_of_clopper_and_pearson(counts: tuple[int, int]) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(*counts).proportion_ci(CONFIDENCE, method="exact")
    assert Proportion(count=counts[0], of=counts[1]).interval() == pytest.approx(tuple(expected), abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 60), st.integers(0, 60))
def test_the_paired_test_is_the_exact_one(first: int, second: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    total = first + second
    expected = stats.binomtest(first, total, 0.5).pvalue if total else 1.0
    assert paired_p(first, second) == pytest.approx(expected, abs=1e-9)


def test_thousands_of_cases_neither_overflow_nor_underflow() -> None:
    low, high = Proportion(count=9000, of=20000).interval() or (0, 0)
    assert 0.44 < low < 0.45 < high < 0.46
    assert paired_p(3000, 3000) == 1.0
    assert 0 <= paired_p(2000, 3000) < 1e-30


def test_no_case_at_all_has_no_share() -> None:
    assert Proportion(count=0, of=0).to_json() == {
        "count": 0,
        "of": 0,
        "share": None,
        "low": None,
        "high": None,
    }


@pytest.mark.parametrize(("count", "of"), [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(count: int, of: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        Proportion(count=count, of=of)
