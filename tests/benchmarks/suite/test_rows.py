"""The cells that no other beats, and the best within limits."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.suite.rows import ACCURACY, COSTS, Limits, best_of, front

FIGURE = st.none() | st.integers(1, 6).map(float)
ROWS = st.lists(st.fixed_dictionaries(dict.fromkeys((*COSTS, ACCURACY), FIGURE)), max_size=12).map(
    lambda rows: [{**row, "key": f"cell-{k}"} for k, row in enumerate(rows)]
)


@given(ROWS, st.sampled_from(COSTS))
def test_a_row_is_on_the_front_if_none_beats_it(rows: list[dict[str, Any]], cost: str) -> None:
    kept = front(rows, cost)
    known = [row for row in rows if None not in (row[cost], row[ACCURACY])]
    for row in known:
        gains = [(row[cost] - other[cost], other[ACCURACY] - row[ACCURACY]) for other in known]
        is_beaten = any(min(gain) >= 0 and max(gain) > 0 for gain in gains)
        assert (row in kept) is not is_beaten
    assert all(row in known for row in kept)
    assert [row[cost] for row in kept] == sorted(row[cost] for row in kept)
    assert [row[ACCURACY] for row in kept] == sorted(row[ACCURACY] for row in kept)


@given(ROWS, st.none() | st.integers(0, 7), st.none() | st.integers(0, 7))
def test_the_best_keeps_the_limits_and_none_that_keeps_them_is_better(
    rows: list[dict[str, Any]], max_ms: int | None, min_map: int | None
) -> None:
    best = best_of(rows, Limits(max_ms=max_ms, min_map=min_map))
    kept = [
        row
        for row in rows
        if row["p50_ms"] is not None
        and (max_ms is None or row["p50_ms"] <= max_ms)
        and (min_map is None or (row[ACCURACY] or -1) >= min_map)
    ]
    assert (best is None) is (kept == [])
    if best is None:
        return
    assert best in kept
    if max_ms is None:
        assert best["p50_ms"] == min(row["p50_ms"] for row in kept)
    else:
        assert (best[ACCURACY] or 0) == max(row[ACCURACY] or 0 for row in kept)
