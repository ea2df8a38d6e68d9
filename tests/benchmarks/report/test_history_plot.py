"""The latency of a model over time: by date, machine and model, with its bounds."""

from __future__ import annotations

from typing import Any

from benchmarks.report.blocks import Plot, Table
from benchmarks.report.history_plot import history_section


def bench(day: int, p50_ms: float, machine: str = "box", **changes: Any) -> dict[str, Any]:
    model = {
        "name": "student.onnx",
        "p50_ms": p50_ms,
        "p50_lower_ms": p50_ms - 1,
        "p50_upper_ms": p50_ms + 1,
        "environment": {
            "started": f"2026-11-{day:02d}T10:00:00+00:00",
            "versions": {"edgestill": f"0.{day}"},
            "machine": {"title": machine},
        },
    }
    return {"kind": "bench", "models": [{**model, **changes}]}


def test_three_results_of_a_model_are_a_plot_and_a_table_by_date() -> None:
    section = history_section([bench(9, 30.0), bench(3, 20.0), bench(5, 25.0)])
    assert section is not None
    _, plot, table = section.blocks
    assert isinstance(plot, Plot)
    assert "student.onnx" in plot.svg
    assert isinstance(table, Table)
    assert [row[1:] for row in table.rows] == [
        ["2026-11-03 10:00", "0.3", 20.0, 19.0, 21.0],
        ["2026-11-05 10:00", "0.5", 25.0, 24.0, 26.0],
        ["2026-11-09 10:00", "0.9", 30.0, 29.0, 31.0],
    ]


def test_two_results_and_other_machines_are_no_history() -> None:
    assert history_section([bench(1, 20.0), bench(2, 20.0)]) is None
    assert history_section([bench(1, 20.0), bench(2, 20.0), bench(3, 9.0, machine="board")]) is None


def test_results_of_versions_without_bounds_are_drawn_without_them() -> None:
    old = [bench(day, 20.0, p50_lower_ms=None, p50_upper_ms=None) for day in (1, 2)]
    assert history_section([*old, bench(3, 21.0)]) is not None


def test_results_without_a_date_or_a_median_are_left_out() -> None:
    undated = {**bench(1, 20.0), "models": [{"name": "student.onnx", "p50_ms": 20.0}]}
    unknown = bench(4, 20.0)
    unknown["models"][0]["p50_ms"] = None
    assert history_section([undated, bench(2, 20.0), bench(3, 20.0), unknown]) is None
