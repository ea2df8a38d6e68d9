"""The result of a suite: a row for each cell, the cells that no other beats, and the best within limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.suite.definition import Cell
from benchmarks.suite.run import CAMERAS, SuiteFolder

Row = dict[str, Any]
MIB = 1 << 20

#: What a front weighs against accuracy, by its key in a row; less is better.
COSTS = ("p50_ms", "energy_mj", "file_mib")
ACCURACY = "map50_95"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the best cell must keep.

    Attributes:
        max_ms: Largest median time of a frame, milliseconds; None for any.
        min_map: Smallest mAP50-95, 0 to 1; None for any.
    """

    max_ms: float | None = None
    min_map: float | None = None


def summarise(folder: SuiteFolder, limits: Limits) -> dict[str, Any]:
    """The result of all steps that are done.

    Args:
        folder: The folder of the suite.
        limits: For the best cell.

    Returns:
        Plain data, ``kind: suite``: ``cells`` (one row each), ``fronts`` (keys of cells by cost), ``best``
        (the key of a cell, None if none keeps the limits, or if there are no limits), ``environment``,
        ``failed``.
    """
    cells = folder.suite.cells()
    visited = {cell: folder.visits(cell) for cell in cells}
    rows = [_row(folder, cell, visited[cell]) for cell in cells]
    _add_ratios(rows)
    single = [row for row in rows if row["scenario"] == "single"]
    results = [visit["result"] for cell in cells for visit in visited[cell] if "result" in visit]
    has_limits = limits.max_ms is not None or limits.min_map is not None
    best = best_of(single, limits) if has_limits else None
    return {
        "kind": "suite",
        "cells": rows,
        "fronts": {cost: [row["key"] for row in front(single, cost)] for cost in COSTS},
        "limits": {"max_ms": limits.max_ms, "min_map": limits.min_map},
        "best": best and best["key"],
        "failed": [{"key": row["key"], "reason": row["reason"]} for row in rows if row["reason"]],
        "environment": results[0]["models"][0]["environment"] if results else None,
        "footage": results[0]["footage"] if results else None,
        "inputs": {"split": folder.inputs.split if folder.inputs.data else None},
    }


def front(rows: Sequence[Row], cost: str) -> list[Row]:
    """The rows that no other row beats, by rising cost (Pareto front).

    A row is beaten if another is at least as accurate at no more cost, and better in one of both. Rows
    without one of the figures are not compared. Of equal rows all stay.

    Args:
        rows: Rows of cells.
        cost: One of ``COSTS``.
    """
    known = [row for row in rows if row[cost] is not None and row[ACCURACY] is not None]
    kept = [row for row in known if not any(_beats(other, row, cost) for other in known)]
    return sorted(kept, key=lambda row: (row[cost], -row[ACCURACY], row["key"]))


def best_of(rows: Sequence[Row], limits: Limits) -> Row | None:
    """The most accurate row within a limit of time; without one, the fastest of at least some accuracy.

    Args:
        rows: Rows of cells.
        limits: The limits; a row without a figure that is limited does not keep it.

    Returns:
        The row; of equally accurate ones the fastest. None if no row keeps the limits.
    """
    kept = [row for row in rows if row["p50_ms"] is not None and _keeps(row, limits)]
    return min(kept, key=_by_time if limits.max_ms is None else _by_accuracy, default=None)


def _by_time(row: Row) -> tuple[float, float, str]:
    return row["p50_ms"], -(row[ACCURACY] or 0), row["key"]


def _by_accuracy(row: Row) -> tuple[float, float, str]:
    return -(row[ACCURACY] or 0), row["p50_ms"], row["key"]


def _beats(a: Row, b: Row, cost: str) -> bool:
    is_no_worse = a[cost] <= b[cost] and a[ACCURACY] >= b[ACCURACY]
    return bool(is_no_worse and (a[cost] < b[cost] or a[ACCURACY] > b[ACCURACY]))


def _keeps(row: Row, limits: Limits) -> bool:
    is_fast = limits.max_ms is None or row["p50_ms"] <= limits.max_ms
    is_accurate = limits.min_map is None or (row[ACCURACY] is not None and row[ACCURACY] >= limits.min_map)
    return bool(is_fast and is_accurate)


def _row(folder: SuiteFolder, cell: Cell, visits: Sequence[Mapping[str, Any]]) -> Row:
    """The figures of a cell: medians over its visits, with the smallest and the largest."""
    exported = folder.exported(cell.file)
    score = folder.score(cell.file)
    models = [visit["result"]["models"][0] for visit in visits if "result" in visit]
    errors = [record["error"] for record in (exported, *visits) if "error" in record]
    made, scored = exported.get("result", {}), score.get("result", {})
    verify = made.get("verify") or {}
    return {
        "key": cell.key,
        **cell.values(),
        "input_hw": made.get("input_hw"),
        "p50_ms": _median(models, "p50_ms"),
        "p50_range_ms": _range(models, "p50_ms"),
        "p90_ms": _median(models, "p90_ms"),
        "inference_ms": _median([model["stages_ms"] for model in models], "inference"),
        "throughput_fps": _median(models, "throughput_fps"),
        "throughput_range_fps": _range(models, "throughput_fps"),
        "age_p95_ms": _median([model.get("age_ms") or {} for model in models], "p95"),
        "dropped_share": _median(models, "dropped_share"),
        "energy_mj": _median(models, "energy_mj"),
        "rss_mib": _median(models, "rss_mib"),
        "cold_start_ms": _median(models, "cold_start_ms"),
        "file_mib": round(made["bytes"] / MIB, 3) if "bytes" in made else None,
        "map50": scored.get("map50"),
        ACCURACY: scored.get(ACCURACY),
        "accuracy_reason": score.get("error"),
        "confident_detections": verify.get("reference_sure"),
        "matched_detections": verify.get("matched"),
        "precision_proved": models[0]["precision_proved"] if models else None,
        "visits": len(models),
        "samples": sum(model["samples"] for model in models),
        "visits_p50_ms": [model["p50_ms"] for model in models],
        "visits_fps": [model["throughput_fps"] for model in models],
        "doubts": sorted({doubt for model in models for doubt in model["doubts"]}),
        "reason": errors[0] if errors else None if models else "not measured yet",
    }


def _add_ratios(rows: Sequence[Row]) -> None:
    """Add the time of each cell over that of the FP32 cell which is equal otherwise.

    The ratio is taken within each round of visits; the row has their median and range. Scenarios with
    cameras, which set the rate, have none.
    """
    axes = ("model", "size", "backend", "threads", "scenario")
    reference = {tuple(row[a] for a in axes): row for row in rows if row["precision"] == "fp32"}
    for row in rows:
        base = None if row["scenario"] in CAMERAS else reference.get(tuple(row[a] for a in axes))
        ratios = list(_ratios(row, base)) if base and base is not row else []
        row["time_over_fp32"] = round(median(ratios), 4) if ratios else None
        row["time_over_fp32_range"] = [round(min(ratios), 4), round(max(ratios), 4)] if ratios else None


def _ratios(row: Row, base: Row) -> Iterator[float]:
    """Ratio of the time of a frame, round by round; none if a visit of one of both is missing."""
    if len(row["visits_fps"]) != len(base["visits_fps"]):
        return
    if row["scenario"] == "single":
        pairs = list(zip(row["visits_p50_ms"], base["visits_p50_ms"], strict=True))
    else:
        pairs = list(zip(base["visits_fps"], row["visits_fps"], strict=True))
    if all(a and b for a, b in pairs):
        yield from (a / b for a, b in pairs)


def _values(models: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [model[key] for model in models if model.get(key) is not None]


def _median(models: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """The median over the visits; None if one of them has no such figure."""
    values = _values(models, key)
    return round(median(values), 4) if values and len(values) == len(models) else None


def _range(models: Sequence[Mapping[str, Any]], key: str) -> list[float] | None:
    values = _values(models, key)
    return [min(values), max(values)] if values and len(values) == len(models) else None
