"""The tables that `bench` shows: latency, stages, files; and the figures that one scenario has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def latency_table(models: Sequence[Mapping[str, Any]], title: str) -> Any:
    """Percentiles and throughput."""
    keys = ("p50_ms", "p90_ms", "p99_ms", "throughput_fps")
    table = _table("p50 ms", "p90 ms", "p99 ms", "frames/s", "samples", title=title)
    for m in models:
        table.add_row(m["name"], *(number(m[key]) for key in keys), str(m["samples"]))
    return table


def file_table(models: Sequence[Mapping[str, Any]]) -> Any:
    """What runs each file, in which precision; start-up and memory; its time on a GPU where there is one."""
    timed = any(m["gpu_compute_ms"] for m in models)
    gpu = ["GPU ms"] if timed else []
    table = _table("backend", "layers by dtype", "cold start ms", "memory MiB", *gpu)
    for m in models:
        proved = ", ".join(f"{count} {dtype}" for dtype, count in m["precision_proved"].items())
        numbers = [
            m["cold_start_ms"],
            m["rss_mib"],
            *([(m["gpu_compute_ms"] or {}).get("p50")] if timed else []),
        ]
        table.add_row(m["name"], m["backend"], proved, *map(number, numbers))
    return table


def warning_lines(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each warning once, with the models that it is about unless it is about all of them."""
    from benchmarks.statistics.conditions import shared_doubts  # noqa: PLC0415 (for the terminal only)

    found = shared_doubts(models)
    return [f"warning ({names}): {doubt}" if names else f"warning: {doubt}" for doubt, names in found]


def _table(*columns: str, title: str | None = None) -> Any:
    """A table with a column for the model, whose name may be long."""
    from rich import box  # noqa: PLC0415 (for the terminal only)
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("model", overflow="fold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def stage_table(models: Sequence[Mapping[str, Any]]) -> Any:
    """Median milliseconds of each stage, and the two times that are not to be confused."""
    measured = [s for s in models[0]["stages_ms"] if any(m["stages_ms"][s] is not None for m in models)]
    parts = {part: stage for stage, of in models[0]["stages_within"].items() for part in of}
    names = [f"{_words(s)} (part of {parts[s]})" if s in parts else _words(s) for s in measured]
    table = _table(*names, "pure inference", "end to end", title="stages of a frame, median milliseconds")
    for m in models:
        times = [*(m["stages_ms"][stage] for stage in measured), m["pure_inference_ms"], m["end_to_end_ms"]]
        table.add_row(m["name"], *map(number, times))
    return table


def scenario_lines(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the two times cover, and what only one scenario has: ages and dropped frames, MLPerf's figure."""
    lines = [_two_times(m) for m in {_two_times(m): m for m in models}.values()]
    for m in models:
        if "age_ms" in m:
            lines.append(_cameras(m))
        if "mlperf" in m:
            lines.append(_mlperf(m))
    return lines


def _two_times(m: Mapping[str, Any]) -> str:
    whole = f"end to end: {m['end_to_end_covers']}"
    why = f"; not measured, because {m['end_to_end_reason']}" if m["end_to_end_ms"] is None else ""
    return f"pure inference: {m['pure_inference_covers']}; {whole}{why}"


def _cameras(m: Mapping[str, Any]) -> str:
    captured = m["decided"] + m["dropped"]
    ages = ", ".join(f"{name} {number(ms)}" for name, ms in m["age_ms"].items())
    return (
        f"{m['name']}: age at the decision {ages} ms; {m['dropped_share']:.1%} of {captured} frames "
        f"dropped; the detector was busy for {m['busy_share']:.0%} of the time"
    )


def _mlperf(m: Mapping[str, Any]) -> str:
    found = m["mlperf"]
    state = "complete" if found["is_complete"] else "shorter than the rules ask for"
    early = found.get("early_stopping_ms")
    bound = f", early-stopping estimate {number(early)}" if early is not None else ""
    return (
        f"{m['name']}: by the rules of MLPerf's {found['scenario']}, no official result, {state}: "
        f"{found['metric']} {number(found['value'])}{bound}"
    )


def _words(stage: str) -> str:
    return stage.replace("_", " ")


def number(value: float | None) -> str:
    """A figure of a table: two decimals, one from 100 on; ``-`` for None."""
    return "-" if value is None else f"{value:.1f}" if value >= 100 else f"{value:.2f}"
