"""The section of a page on one run of ``bench``, of any scenario, and tables of ratios."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.monitoring.summary import energy_in_words, in_words
from benchmarks.report import plots
from benchmarks.report.blocks import (
    Block,
    Cell,
    Commands,
    Details,
    Doubts,
    Heading,
    Prose,
    Section,
    Table,
)
from benchmarks.report.units import unit_of, words_of
from benchmarks.report.verification import facts_table
from benchmarks.statistics.conditions import shared_doubts

Result = Mapping[str, Any]

VERDICT_TONES: Mapping[str, Any] = {"faster": "good", "slower": "bad"}
TITLES = {"single": "Latency", "offline": "Throughput", "paced": "A camera", "multi": "Several cameras"}
#: Measures in the order of their columns, by key; those that no model has are left out, others follow.
MEASURES: Mapping[str, str] = {
    "samples": "frames timed",
    "p50_ms": "p50, median time of a frame",
    "p90_ms": "p90 of it",
    "p99_ms": "p99 of it",
    "frame_ms": "time a frame, median of the turns",
    "age_ms.p50": "age at the decision, p50",
    "age_ms.p95": "p95 of it",
    "age_ms.p99": "p99 of it",
    "dropped_share": "frames dropped",
    "busy_share": "time in which the model worked",
    "end_to_end_ms": "end to end, median",
    "pure_inference_ms": "pure inference, median",
    "stages_ms.inference": "inference as a stage, median",
    "gpu_compute_ms.p50": "on the GPU, median",
    "throughput_fps": "throughput",
    "concurrency": "frames in progress",
    "cold_start_ms": "cold start of a new process",
    "rss_mib": "memory of a new process",
    "energy_mj": "energy a frame, over idle",
    "energy.mean_mw": "mean power, with idle",
}
NOT_MEASURES = frozenset({"conf", "iou", "tile_overlap", "input_hw", "threads"})  # settings of a model
NAMED = ("single", "offline", "paced", "multi")  # scenarios of which MEASURES has the main ones
REASON = "_reason"


def latency_section(bench: Result, title: str = "") -> Section:
    """Measures, stages, distributions, ratios and conditions of one run of bench; its scenario as title."""
    models = bench["models"]
    blocks: list[Block] = [
        Prose(_what(bench)),
        _measures_table(models),
        *_other_measures(bench),
        *_each_camera(models),
        *_missing(models),
        *_monitor_lines(models),
        *_drawings(models),
    ]
    if bench.get("ratios"):
        blocks += [Heading("Against the first model"), comparison_table(bench["ratios"])]
    blocks += [
        Doubts([f"{names}: {doubt}" if names else doubt for doubt, names in shared_doubts(models)]),
        Commands([bench["command"]] if bench.get("command") else []),
    ]
    blocks.append(_conditions(models[0].get("environment", {})))
    return Section(title=title or title_of(bench), blocks=blocks)


def title_of(bench: Result) -> str:
    """The title of a scenario."""
    return TITLES.get(str(bench["scenario"]), f"Scenario {bench['scenario']}")


def stages_of(model: Result) -> dict[str, float]:
    """Median milliseconds of the stages that were measured and are no parts of another one."""
    within = _within(model)
    return {stage: ms for stage, ms in model["stages_ms"].items() if ms is not None and stage not in within}


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
            "its time\nmilliseconds",
            "time of the other\nmilliseconds",
            "ratio",
            "95 % interval",
            "verdict",
            "reason",
        ),
        rows=rows,
        caption="Ratio of medians, without unit; below 1 the model is faster. "
        "Interval by bootstrap over rounds.",
        tones=VERDICT_TONES,
    )


def _what(bench: Result) -> str:
    """What was measured, on which frames, in which order."""
    source = bench.get("footage") or {}
    parts = [f"Measured {bench.get('measures', bench['scenario'])}."]
    if source:
        order = "models measured alternately" if bench.get("interleaved") else "one model after the other"
        parts.append(f"{source['frames']} frames of {source['source']}; {order}.")
    if bench.get("warmup_s") is not None:
        parts.append(f"{bench['warmup_s']:g} s warm-up each.")
    return " ".join(parts)


def _measures_table(models: Sequence[Result]) -> Table:
    """The measures with names of their own, a row for each model."""
    keys = [key for key in MEASURES if any(_is_number(_at(model, key)) for model in models)]
    rows: list[list[Cell]] = [
        [
            model["name"],
            model.get("backend"),
            "\n".join(f"{count} {dtype}" for dtype, count in model.get("precision_proved", {}).items()),
            *(_at(model, key) for key in keys),
        ]
        for model in models
    ]
    columns = ("model", "backend", "layers run in", *map(_heading, keys))
    return Table(columns=columns, rows=rows, caption="A dash: not measured; the reasons are below the table.")


def _other_measures(bench: Result) -> Iterator[Block]:
    """All other numbers with a unit, a row for each: folded away for scenarios whose measures have names."""
    models = bench["models"]
    keys = dict.fromkeys(key for model in models for key, value in model.items() if _is_number(value))
    others = [key for key in keys if unit_of(key) and key not in MEASURES and key not in NOT_MEASURES]
    rows: list[list[Cell]] = [
        [words_of(key), unit_of(key), *(model.get(key) for model in models)] for key in others
    ]
    if rows:
        table = Table(columns=("measure", "unit", *(model["name"] for model in models)), rows=rows)
        yield Details(summary="More measures", blocks=[table]) if bench["scenario"] in NAMED else table


def _each_camera(models: Sequence[Result]) -> Iterator[Block]:
    """The figures of each of several cameras, folded away."""
    keys = ("age_ms.p50", "age_ms.p95", "age_ms.p99", "dropped_share")
    rows: list[list[Cell]] = [
        [f"camera {number} with {model['name']}", *(_at(camera, key) for key in keys)]
        for model in models
        if len(model.get("cameras", ())) > 1
        for number, camera in enumerate(model["cameras"], 1)
    ]
    if rows:
        table = Table(columns=("camera", *map(_heading, keys)), rows=rows)
        yield Details(summary="Each camera", blocks=[table])


def _heading(key: str) -> str:
    """The words of a measure, and its unit in a line of its own."""
    unit = unit_of(key)
    words = MEASURES.get(key) or words_of(key)
    return f"{words}\n{unit}" if unit and unit != "count" else words


def _missing(models: Sequence[Result]) -> Iterator[Block]:
    """Each reason why something was not measured, with what and of which models."""
    about: dict[str, dict[str, list[str]]] = {}
    for model in models:
        for what, reason in _reasons(model):
            about.setdefault(reason, {}).setdefault(what, []).append(model["name"])
    if about:
        lines = [f"{_which(by_what, len(models))}: {reason}." for reason, by_what in about.items()]
        yield Details(summary="Not measured, and why", blocks=[Prose(line) for line in lines])


def _reasons(model: Result) -> Iterator[tuple[str, str]]:
    """What was not measured of a model, and why; some keys have a reason for each of their parts."""
    for key, reason in model.items():
        what = key.removesuffix(REASON).replace("_", " ")
        if key.endswith(REASON) and isinstance(reason, Mapping):
            yield from ((f"{what} {part}", str(why)) for part, why in reason.items())
        elif key.endswith(REASON) and reason:
            yield what, str(reason)


def _which(by_what: Mapping[str, Sequence[str]], models: int) -> str:
    names = dict.fromkeys(name for group in by_what.values() for name in group)
    what = ", ".join(by_what)
    return what if len(names) == models else f"{what} of {', '.join(names)}"


def _drawings(models: Sequence[Result]) -> Iterator[Block]:
    """Stages and distributions of the models that have them."""
    staged = [(m["name"], stages_of(m)) for m in models if m.get("stages_ms")]
    if staged:
        yield plots.plot(plots.stage_bars, staged, caption="Median time of each stage.")
    sampled = [(m["name"], _frame_ms(m)) for m in models if m.get("samples_ms")]
    if sampled:
        caption = "Cumulative distribution of the time of a frame. A steep curve means little variation."
        yield plots.plot(plots.latency_curves, sampled, caption=caption)


def _monitor_lines(models: Sequence[Result]) -> Iterator[Block]:
    """Energy, clocks, temperature and throttling in words; none for results of versions without monitors."""
    monitors = models[0].get("environment", {}).get("monitors")
    if monitors:
        yield Prose(f"During the run: {in_words(monitors)}.")
        if all("energy_mj" in model for model in models):
            for line in energy_in_words(models):
                yield Prose(line, note=True)


def _frame_ms(model: Result) -> list[float]:
    within = _within(model)
    stages = [samples for stage, samples in model["samples_ms"].items() if stage not in within]
    return [sum(parts) for parts in zip(*stages, strict=True)]


def _within(model: Result) -> set[str]:
    """Stages that are parts of another one, as the copies to and from a GPU are of inference."""
    return {part for parts in model.get("stages_within", {}).values() for part in parts}


def _conditions(environment: Result) -> Block:
    return Details(summary="Conditions of the measurement", blocks=[facts_table(environment)])


def _at(data: Any, key: str) -> Any:
    """The value at a key of parts joined by dots; None where there is none."""
    for part in key.split("."):
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
