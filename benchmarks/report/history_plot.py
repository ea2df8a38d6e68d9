"""The latency of models over time, from several results of ``bench``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benchmarks.report import plots
from benchmarks.report.blocks import Block, Cell, Prose, Section, Table
from edgestill.drawing.class_names import plot_text

LEAST_RESULTS = 3  # of a model; two are a comparison, which a table shows better


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A model in one result.

    Attributes:
        when: Start of the measurement.
        p50_ms: Median time of a frame, milliseconds.
        low_ms: Lower bound of the median; None in results of versions without bounds.
        high_ms: Upper bound of the median.
        version: Version of edgestill.
        machine: What it was measured on.
    """

    when: datetime
    p50_ms: float
    low_ms: float | None
    high_ms: float | None
    version: str
    machine: str


def history_section(benches: Sequence[Mapping[str, Any]]) -> Section | None:
    """The models that at least ``LEAST_RESULTS`` results have on one machine; None if there are none."""
    blocks: list[Block] = []
    for machine, by_model in _by_machine(benches).items():
        known = {name: points for name, points in by_model.items() if len(points) >= LEAST_RESULTS}
        if known:
            caption = f"Median time of a frame by date, on {machine}; bars are its 99 % bounds on both sides."
            blocks += [
                plots.plot(latency_history, list(known.items()), caption=caption),
                _table(known, machine),
            ]
    if not blocks:
        return None
    lead = Prose("Separate runs differ by more than their bounds say: edgestill compare judges two of them.")
    return Section(title="Latency over time", blocks=[lead, *blocks])


def latency_history(models: Sequence[tuple[str, Sequence[Point]]], *, width: float = plots.WIDTH) -> str:
    """Median time of a frame by date with its bounds, a line for each model.

    Args:
        models: Name, and points in order.
        width: Of the drawing, inches.
    """
    with plots.new_canvas(width, 3.8) as canvas:
        axes = canvas.figure.subplots()
        for k, (name, points) in enumerate(models):
            colour = plots.series_colour(k)
            days, medians = [p.when for p in points], [p.p50_ms for p in points]
            below = [p.p50_ms - (p.p50_ms if p.low_ms is None else p.low_ms) for p in points]
            above = [(p.p50_ms if p.high_ms is None else p.high_ms) - p.p50_ms for p in points]
            axes.errorbar(
                days, medians, yerr=[below, above], fmt="o-", color=colour, capsize=3, label=plot_text(name)
            )
        axes.set(ylabel="ms per frame, median")
        axes.set_ylim(bottom=0)
        axes.margins(x=0.05)
        canvas.figure.autofmt_xdate(rotation=20)
        plots.add_legend(canvas.figure, axes, columns=1 if width < plots.WIDTH else 3)
    return canvas.svg


def _by_machine(benches: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[Point]]]:
    """Points by machine and model, by date; models without a date or a median are left out."""
    found: dict[str, dict[str, list[Point]]] = {}
    for bench in benches:
        for model in bench["models"]:
            point = _point(model)
            if point is not None:
                found.setdefault(point.machine, {}).setdefault(str(model["name"]), []).append(point)
    for by_model in found.values():
        for points in by_model.values():
            points.sort(key=lambda point: point.when)
    return found


def _point(model: Mapping[str, Any]) -> Point | None:
    environment = model.get("environment") or {}
    started, median_ms = environment.get("started"), model.get("p50_ms")
    if started is None or median_ms is None:
        return None
    return Point(
        when=datetime.fromisoformat(started),
        p50_ms=float(median_ms),
        low_ms=model.get("p50_lower_ms"),
        high_ms=model.get("p50_upper_ms"),
        version=str((environment.get("versions") or {}).get("edgestill", "unknown")),
        machine=str((environment.get("machine") or {}).get("title", "an unknown machine")),
    )


def _table(models: Mapping[str, Sequence[Point]], machine: str) -> Table:
    rows: list[list[Cell]] = [
        [name, f"{p.when:%Y-%m-%d %H:%M}", p.version, p.p50_ms, p.low_ms, p.high_ms]
        for name, points in models.items()
        for p in points
    ]
    return Table(
        columns=("model", "started", "edgestill", "p50 ms", "at least", "at most"),
        rows=rows,
        caption=f"On {machine}.",
    )
