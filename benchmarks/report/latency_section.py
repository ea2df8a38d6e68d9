"""The section of a page on one run of ``bench``, and tables of ratios."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.monitoring.summary import energy_in_words, in_words
from benchmarks.report import plots
from benchmarks.report.page import (
    Block,
    Cell,
    Commands,
    Details,
    Doubts,
    Heading,
    Plot,
    Prose,
    Section,
    Table,
)
from benchmarks.report.verification import facts_table

Result = Mapping[str, Any]

VERDICT_TONES: Mapping[str, Any] = {"faster": "good", "slower": "bad"}


def latency_section(bench: Result, title: str = "Latency") -> Section:
    """Percentiles, stages, distributions, ratios and conditions of one run of bench."""
    models = bench["models"]
    columns = ("model", "backend", "layers run in", "samples", "p50", "p90", "p99", "inference", "frames/s")
    measured = any(m.get("energy_mj") is not None for m in models)
    rows: list[list[Cell]] = [
        [
            m["name"],
            m["backend"],
            " ".join(f"{count} {dtype}" for dtype, count in m["precision_proved"].items()),
            m["samples"],
            m["p50_ms"],
            m["p90_ms"],
            m["p99_ms"],
            m["stages_ms"]["inference"],
            m["throughput_fps"],
            m["cold_start_ms"],
            m["rss_mib"],
            *(_energy_cells(m) if measured else ()),
        ]
        for m in models
    ]
    source = bench["footage"]
    order = "models measured alternately" if bench["interleaved"] else "one model after the other"
    shown = f"{source['frames']} frames of {source['source']}; {order}; {bench['warmup_s']:g} s warm-up each."
    blocks: list[Block] = [
        Prose(f"Measured {bench['measures']}. {shown}"),
        Table(
            columns=(*columns, "cold start", "memory MiB", *(("mJ a frame", "W") if measured else ())),
            rows=rows,
            caption="Times in milliseconds. Cold start and memory: of a new process. A dash: too few samples."
            + (" Energy is over idle, power is the mean with idle." if measured else ""),
        ),
        *_monitor_lines(models),
        Plot(
            svg=plots.stage_bars([(m["name"], m["stages_ms"]) for m in models]),
            caption="Median time of each stage.",
        ),
        Plot(
            svg=plots.latency_curves([(m["name"], _frame_ms(m)) for m in models]),
            caption="Cumulative distribution of the time of a frame. A steep curve means little variation.",
        ),
    ]
    if bench["ratios"]:
        blocks += [Heading("Against the first model"), comparison_table(bench["ratios"])]
    blocks += [Doubts(_shared_doubts(models)), Commands([bench["command"]] if bench.get("command") else [])]
    blocks.append(_conditions(models[0]["environment"]))
    return Section(title=title, blocks=blocks)


def comparison_section(comparisons: Sequence[Result]) -> Section | None:
    """Ratios between separate runs; None without comparisons."""
    return (
        Section(title="Comparison", blocks=[comparison_table(comparisons)]) if len(comparisons) > 0 else None
    )


def comparison_table(comparisons: Sequence[Result]) -> Table:
    """Ratios of medians with their intervals and verdicts."""
    rows: list[list[Cell]] = [
        [
            c["b"],
            c["a"],
            c["measure"],
            c["b_ms"],
            c["a_ms"],
            f"{c['ratio']:.3f}",
            f"{c['low']:.3f} to {c['high']:.3f}",
            c["verdict"],
            c.get("reason"),
        ]
        for c in comparisons
    ]
    return Table(
        columns=(
            "model",
            "against",
            "measure",
            "ms",
            "ms of the other",
            "ratio",
            "95 % interval",
            "verdict",
            "reason",
        ),
        rows=rows,
        caption="Ratio of medians; below 1 the model is faster. Interval by bootstrap over rounds.",
        tones=VERDICT_TONES,
    )


def _energy_cells(model: Result) -> list[Cell]:
    """Energy of a frame over idle, mJ, and mean power, W."""
    energy = model.get("energy")
    return [model.get("energy_mj"), energy["mean_mw"] / 1e3 if energy else None]


def _monitor_lines(models: Sequence[Result]) -> Iterator[Block]:
    """Energy, clocks, temperature and throttling in words; none for results of versions without monitors."""
    monitors = models[0]["environment"].get("monitors")
    if monitors:
        yield Prose(f"During the run: {in_words(monitors)}.")
        for line in energy_in_words(models):
            yield Prose(line, note=True)


def _frame_ms(model: Result) -> list[float]:
    return [sum(parts) for parts in zip(*model["samples_ms"].values(), strict=True)]


def _shared_doubts(models: Sequence[Result]) -> list[str]:
    """Each doubt once, with the models it is about unless it is about all of them."""
    about: dict[str, list[str]] = {}
    for model in models:
        for doubt in model["doubts"]:
            about.setdefault(doubt, []).append(model["name"])
    return [d if len(names) == len(models) else f"{', '.join(names)}: {d}" for d, names in about.items()]


def _conditions(environment: Result) -> Block:
    return Details(summary="Conditions of the measurement", blocks=[facts_table(environment)])
