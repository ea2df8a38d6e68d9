"""The sections of a page on accuracy: scores, confusions, and accuracy against latency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import plots
from benchmarks.report.blocks import Block, Cell, Details, Doubts, Section, Table
from benchmarks.report.verification import points

Result = Mapping[str, Any]

LEAST_POINTS = 3  # of a scatter plot: with fewer a table says more
NOTHING, MISSED = "nothing", "missed"  # of a confusion matrix by names
AP = ("AP50\npoints of 100", "AP50-95\npoints of 100")


def accuracy_section(evals: Sequence[Result]) -> Section | None:
    """Scores of all models, then by class, size and source, and confusions; None without results."""
    if not evals:
        return None
    overview: list[list[Cell]] = [
        [
            eval_name(e),
            f"{Path(e['data']).parent.name} {e['split']}",
            e["backend"],
            e["images"],
            e["labels"],
            points(e["map50"]),
            points(e["map50_95"]),
        ]
        for e in evals
    ]
    columns = ("model", "data", "backend", "images", "labels", *(f"m{name}" for name in AP))
    blocks: list[Block] = [
        Table(columns=columns, rows=overview, caption="Mean average precision, COCO protocol."),
    ]
    for split in dict.fromkeys((e["data"], e["split"]) for e in evals):
        group = [e for e in evals if (e["data"], e["split"]) == split]
        scores = [(eval_name(e), {c: s["ap50_95"] for c, s in e["per_class"].items()}) for e in group]
        caption = f"AP50-95 by class on {split[1]} of {split[0]}; a dash marks a class without labels."
        blocks.append(plots.plot(plots.class_bars, scores, caption=caption))
    for e in evals:
        blocks += [_slices(e), *_confusions(e)]
    blocks.append(Doubts(list(dict.fromkeys(f"{e['split']}: {d}" for e in evals for d in e["doubts"]))))
    return Section(title="Accuracy", blocks=blocks)


def accuracy_against_latency(benches: Sequence[Result], evals: Sequence[Result]) -> Section | None:
    """The models with both a bench and an eval result, matched by file; None if there are none.

    From three models on they are drawn.
    """
    models = [model for bench in benches for model in bench["models"]]
    speed = {m["file"]: m for m in models if m.get("file") and (m.get("stages_ms") or {}).get("inference")}
    blocks: list[Block] = []
    for split in dict.fromkeys((e["data"], e["split"]) for e in evals):
        known = [
            (str(speed[e["file"]]["name"]), float(speed[e["file"]]["stages_ms"]["inference"]), e["map50_95"])
            for e in evals
            if (e["data"], e["split"]) == split and e["file"] in speed and e["map50_95"] is not None
        ]
        if known:
            blocks += _known(
                known, f"mAP50-95 on {split[1]} of {split[0]} against the median time of inference."
            )
    return Section(title="Accuracy against latency", blocks=blocks) if blocks else None


def confusion_table(taken_for: Mapping[str, Mapping[str, int]], caption: str) -> Table:
    """A confusion matrix: labels by class and by class of their detection, with shares of the labels."""
    names = [*(name for name in taken_for if name != NOTHING), MISSED]
    rows: list[list[Cell]] = []
    for name, row in taken_for.items():
        labels = 0 if name == NOTHING else sum(row.values())
        cells = [_counted(row.get(other), labels) for other in names]
        rows.append(["nothing (false)" if name == NOTHING else f"{name}, {labels} labels", *cells])
    return Table(columns=("true class", *(_seen_as(name) for name in names)), rows=rows, caption=caption)


def eval_name(result: Result) -> str:
    """The model's name with its folder, since `best` alone is ambiguous."""
    return "/".join(Path(result["model"]).parts[-2:])


def _known(known: Sequence[tuple[str, float, float]], caption: str) -> Iterator[Block]:
    rows: list[list[Cell]] = [[name, ms, points(score)] for name, ms, score in known]
    columns = ("model", "inference, median\nmilliseconds", "mAP50-95\npoints of 100")
    if len(known) >= LEAST_POINTS:
        yield plots.plot(plots.accuracy_latency, known, caption=caption)
        yield Details(summary="The same as a table", blocks=[Table(columns=columns, rows=rows)])
    else:
        yield Table(columns=columns, rows=rows, caption=caption)


def _slices(result: Result) -> Block:
    """Scores by size, by class and size, and by source, folded away."""
    rows: list[list[Cell]] = [
        [name, s["labels"], points(s["ap50"]), points(s["ap50_95"])] for name, s in result["by_size"].items()
    ]
    rows += [
        [f"{name}, {size}", s["labels"], points(s["ap50"]), points(s["ap50_95"])]
        for name, sizes in result.get("by_class_and_size", {}).items()
        for size, s in sizes.items()
        if s["labels"]
    ]
    rows += [
        [f"shorter side {name} pixels", s["labels"], points(s["ap50"]), points(s["ap50_95"])]
        for name, s in result.get("by_short_side_px", {}).items()
    ]
    rows += [
        [f"source {name}", s["labels"], points(s["map50"]), points(s["map50_95"])]
        for name, s in result["per_source"].items()
    ]
    caption = (
        "Small, medium, large: areas below 32 x 32, to 96 x 96, and above, in pixels of the source image."
    )
    table = Table(columns=("part", "labels", *AP), rows=rows, caption=caption)
    return Details(
        summary=f"{eval_name(result)}, {result['split']}: by size, class and source", blocks=[table]
    )


def _confusions(result: Result) -> Iterator[Block]:
    if result.get("taken_for"):
        table = confusion_table(
            result["taken_for"], "Detections with a score of at least 0.25 and an IoU of 0.5."
        )
        yield Details(summary=f"{eval_name(result)}, {result['split']}: confusion matrix", blocks=[table])


def _seen_as(name: str) -> str:
    return name if name == MISSED else f"seen as {name}"


def _counted(count: int | None, labels: int) -> Cell:
    """A count with its share of the labels; None where there is nothing to count."""
    return f"{count} ({100 * count / labels:.0f} %)" if count and labels else count
