"""From result files to the sections of a page: tables and plots for each kind of result.

The kind of a result is in its ``kind``, or is derived from its keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import plots
from benchmarks.report.latency_section import (
    VERDICT_TONES,
    comparison_section,
    latency_section,
)
from benchmarks.report.page import (
    Block,
    Card,
    Cell,
    Details,
    Doubts,
    Picture,
    Pictures,
    Plot,
    Section,
    Table,
)
from benchmarks.report.result_kind import HINT, kind_of, refuse_incomplete
from benchmarks.report.verification import exports_section, facts_table, points, verification_section
from edgestill.errors import DataError
from edgestill.history import Row, read_history

Result = Mapping[str, Any]

_NOT_LOSSES = {"epoch", "lr", "map50", "map50_95", "seconds_per_step", "images_per_s", "seconds"}


#: Errors of reading a result whose values are of other types than a verb writes.
_BROKEN = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, OSError)


def build_page(
    results: Sequence[tuple[str, Result]], pictures: Sequence[Picture] = ()
) -> tuple[list[Section], list[Card]]:
    """The sections and the headline figures of a page.

    Args:
        results: File name and content of each result.
        pictures: Images for a section of their own.

    Raises:
        DataError: A file is not a result, or lacks what its kind has; the message names it.
    """
    for name, result in results:
        refuse_incomplete(result, name)
    try:
        return build_sections(results, pictures), headline_cards([result for _, result in results])
    except _BROKEN as error:
        for name, result in results:
            if reason := _why_broken(name, result):
                raise DataError(f"{name} is not a whole result: {reason}", hint=HINT) from error
        raise


def _why_broken(name: str, result: Result) -> str | None:
    """The error of a page of one result alone; None if there is none."""
    try:
        build_sections([(name, result)])
        headline_cards([result])
    except _BROKEN as error:
        kind = kind_of(result)
        return f"as {kind} it has no {error}" if isinstance(error, KeyError) else f"as {kind}: {error}"
    return None


def build_sections(results: Sequence[tuple[str, Result]], pictures: Sequence[Picture] = ()) -> list[Section]:
    """The sections of a page for any mix of results.

    Args:
        results: File name and content of each result.
        pictures: Images for a section of their own, e.g. frames of a clip.
    """
    by_kind: dict[str, list[tuple[str, Result]]] = {}
    for source, result in results:
        by_kind.setdefault(kind_of(result, source), []).append((source, result))
    sections = [
        accuracy_against_latency(_of(by_kind, "bench"), _of(by_kind, "eval")),
        accuracy_section(_of(by_kind, "eval")),
        *_latency_sections(by_kind.get("bench", [])),
        comparison_section([c for r in _of(by_kind, "compare") for c in r["comparisons"]]),
        *(training_section(result, source) for source, result in by_kind.get("distill", [])),
        exports_section(_of(by_kind, "export")),
        verification_section([*_of(by_kind, "export"), *_of(by_kind, "verify")]),
        Section(title="Images", blocks=[Pictures(pictures)]) if pictures else None,
        *(
            Section(title=f"Result: {source}", blocks=[facts_table(result)])
            for source, result in [*by_kind.get("offline", []), *by_kind.get("other", [])]
        ),
    ]
    return [section for section in sections if section is not None]


def headline_cards(results: Sequence[Result]) -> list[Card]:
    """The headline figures of any mix of results: fastest, most accurate, largest gain in speed."""
    models = [m for r in results if kind_of(r) == "bench" for m in r["models"]]
    evals = [r for r in results if kind_of(r) == "eval" and r.get("map50_95") is not None]
    ratios = [c for r in results if kind_of(r) == "bench" for c in r["ratios"] if c["measure"] == "inference"]
    cards = []
    if models:
        best = min(models, key=lambda m: m["stages_ms"]["inference"])
        cards.append(
            Card(value=f"{best['stages_ms']['inference']:.1f} ms", label=f"fastest inference: {best['name']}")
        )
    if evals:
        top = max(evals, key=lambda r: r["map50_95"])
        label = f"highest mAP50-95: {_eval_name(top)}, {top['split']}"
        cards.append(Card(value=f"{100 * top['map50_95']:.1f}", label=label))
    if ratios:
        c = min(ratios, key=lambda c: c["ratio"])
        label = f"time of {c['b']} against {c['a']}: {c['verdict']}"
        cards.append(Card(value=f"{c['ratio']:.2f} ×", label=label, tone=VERDICT_TONES.get(c["verdict"], "")))
    return cards


def accuracy_against_latency(benches: Sequence[Result], evals: Sequence[Result]) -> Section | None:
    """The models with both a bench and an eval result, matched by file; None if there are none."""
    speed = {str(m["file"]): m for bench in benches for m in bench["models"]}
    blocks: list[Block] = []
    for split in dict.fromkeys((e["data"], e["split"]) for e in evals):
        known = [
            (str(speed[e["file"]]["name"]), float(speed[e["file"]]["stages_ms"]["inference"]), e["map50_95"])
            for e in evals
            if (e["data"], e["split"]) == split and e["file"] in speed and e["map50_95"] is not None
        ]
        if known:
            caption = f"mAP50-95 on {split[1]} of {split[0]} against the median time of inference."
            blocks.append(Plot(svg=plots.accuracy_latency(known), caption=caption))
    return Section(title="Accuracy against latency", blocks=blocks) if blocks else None


def accuracy_section(evals: Sequence[Result]) -> Section | None:
    """Scores of all models, then by class, size and source; None without results."""
    if not evals:
        return None
    overview: list[list[Cell]] = [
        [
            _eval_name(e),
            f"{Path(e['data']).parent.name} {e['split']}",
            e["backend"],
            e["images"],
            e["labels"],
            points(e["map50"]),
            points(e["map50_95"]),
        ]
        for e in evals
    ]
    columns = ("model", "data", "backend", "images", "labels", "mAP50", "mAP50-95")
    blocks: list[Block] = [
        Table(columns=columns, rows=overview, caption="Average precision in points (of 100), COCO protocol."),
    ]
    for split in dict.fromkeys((e["data"], e["split"]) for e in evals):
        group = [e for e in evals if (e["data"], e["split"]) == split]
        scores = [(_eval_name(e), {c: s["ap50_95"] for c, s in e["per_class"].items()}) for e in group]
        caption = f"AP50-95 by class on {split[1]} of {split[0]}; a dash marks a class without labels."
        blocks.append(Plot(svg=plots.class_bars(scores), caption=caption))
    blocks += [_slices(e) for e in evals]
    blocks.append(Doubts(list(dict.fromkeys(f"{e['split']}: {d}" for e in evals for d in e["doubts"]))))
    return Section(title="Accuracy", blocks=blocks)


def training_section(result: Result, source: str) -> Section:
    """Curves and scores of one training; the curves need its history file."""
    blocks: list[Block] = []
    rows = _history(result, Path(source))
    if rows:
        losses = [name for name in rows[0] if name not in _NOT_LOSSES]
        svg = plots.training_curves(rows, losses, ("map50", "map50_95"))
        blocks.append(
            Plot(svg=svg, caption="Loss by part (logarithmic), and scores on the validation split.")
        )
    classes: list[list[Cell]] = [
        [name, s["labels"], points(s["ap50"]), points(s["ap50_95"])]
        for name, s in result["per_class"].items()
    ]
    mean: list[Cell] = ["mean", None, points(result["map50"]), points(result["map50_95"])]
    blocks.append(
        Table(
            columns=("class", "labels", "AP50", "AP50-95"),
            rows=[*classes, mean],
            caption=f"Best epoch {result['best_epoch']} of {result['epochs']}, validation split, points.",
        )
    )
    blocks.append(Details(summary="All settings", blocks=[facts_table(result)]))
    name = str(result.get("recipe", {}).get("name") or Path(source).parent.name)
    return Section(title=f"Training: {name}", blocks=blocks)


def _latency_sections(benches: Sequence[tuple[str, Result]]) -> list[Section]:
    if len(benches) == 1:
        return [latency_section(benches[0][1])]
    return [latency_section(result, f"Latency: {source}") for source, result in benches]


def _of(by_kind: Mapping[str, Sequence[tuple[str, Result]]], kind: str) -> list[Result]:
    return [result for _, result in by_kind.get(kind, [])]


def _eval_name(result: Result) -> str:
    """The model's name with its folder, since `best` alone is ambiguous."""
    return "/".join(Path(result["model"]).parts[-2:])


def _slices(result: Result) -> Block:
    """Scores by size and by source, folded away."""
    rows: list[list[Cell]] = [
        [name, s["labels"], points(s["ap50"]), points(s["ap50_95"])] for name, s in result["by_size"].items()
    ]
    rows += [
        [f"source {name}", s["labels"], points(s["map50"]), points(s["map50_95"])]
        for name, s in result["per_source"].items()
    ]
    table = Table(columns=("part", "labels", "AP50", "AP50-95"), rows=rows)
    return Details(summary=f"{_eval_name(result)}, {result['split']}: by size and source", blocks=[table])


def _history(result: Result, source: Path) -> list[Row]:
    """The rows of ``history.csv``, where the result says it is or beside the result; empty if gone."""
    stated = Path(str(result.get("history", "")))
    for path in (stated, source.parent / stated.name):
        if path.is_file():
            return read_history(path)
    return []
