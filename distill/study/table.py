"""The result of a study as Markdown and CSV: one row an arm, with the usual columns, and the tests."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from distill.plots.training import MAX_NAMED
from distill.study.formatting import interval, markdown_table, p_value, points, share, signed
from distill.study.grid import Study
from distill.study.paper import NETWORK_UNITS
from distill.study.statistics import MOST_PAIRS
from distill.study.summary import METRICS, PRIMARY, SIZED, STRICT, ArmRow, Comparison, Scored, mean, spread
from edgestill.files import write_bytes

TITLES = {
    "map50": "mAP50",
    "map50_95": "mAP50-95",
    PRIMARY: "Primary figure",
    "ap50": "mAP50",
    "ap50_95": "mAP50-95",
}
TEST_COLUMNS = (
    *("Student", "Teacher", "Arm", "n", "Δ", "Seeds", "p", "Holm", "Power", "Seeds for 80 %"),
    *("Images", "p", "Holm"),
)
_SCORES = """\
Scores are in points (0 to 100): the mean over the seeds ± their standard deviation."""
_TESTS = """\
Δ in the first table is the difference of the means of mAP50-95 to `{reference}`. Two tests are given, both
two-sided, both with 95 % intervals. **Seeds** is a paired t test over the seeds: does the difference hold
for other trainings? With few seeds only large, consistent differences are significant. **Images** is a
paired bootstrap over the {images} images ({resamples} resamples, the same for both arms; mAP is recomputed,
and its difference is the mean over the seeds): does the difference hold for other images and the same
networks? {units} **Holm** is p corrected for the number of arms in the table. **Power** is the probability
that the t test over the seeds finds a true difference of {effect:g} points (p below 0.05, before Holm) at the
measured spread, and the next column the seeds with which it is at least 80 %. Few seeds know their own
spread badly: with three, both figures may be far off."""
_UNITS = {
    "images": "Images of one drive are correlated, so the true interval is wider.",
    "sequences": "Whole sequences of images are drawn, as images of one drive are correlated.",
}


def write_tables(
    out: Path,
    text: str,
    scored: Sequence[Scored],
    rows: Sequence[ArmRow],
    comparisons: Sequence[Comparison],
    *,
    paper: Sequence[Mapping[str, Any]] = (),
) -> list[Path]:
    """Write ``table.md``, ``table.csv``, ``tests.csv``, ``cells.csv``, and ``paper.csv`` if the study has it.

    Returns:
        Their paths.
    """
    files = {
        "table.md": text.encode(),
        "table.csv": _csv([arm_row_values(row) for row in rows]),
        "tests.csv": _csv([test_values(one) for one in comparisons]),
        "cells.csv": _csv([cell_values(cell_score) for cell_score in scored]),
    }
    if paper:
        files["paper.csv"] = _csv(paper)
    for file, data in files.items():
        write_bytes(out / file, data)
    return [out / file for file in files]


def markdown(
    title: str,
    study: Study,
    scored: Sequence[Scored],
    rows: Sequence[ArmRow],
    comparisons: Sequence[Comparison],
) -> str:
    """The text of ``table.md``."""
    first_cell, first = scored[0]
    recipe = first_cell.recipe
    about = (
        f"Split `{first['split']}`: {first['images']} images, {first['labels']} boxes. Averaged (EMA) "
        f"weights of the {study.weights} epoch. Input {_size(recipe.input_hw)}, trained on windows of "
        f"{_size(recipe.train_hw)}, {recipe.epochs} epochs, batch {recipe.batch}; {first['arithmetic']}."
    )
    sizes = {cell.arm: cell.recipe.input_hw for cell, _ in scored if cell.recipe.input_hw != recipe.input_hw}
    if sizes:
        listed = ", ".join(f"`{arm}` {_size(hw)}" for arm, hw in sizes.items())
        about += f" Other inputs: {listed}. Teachers have that of the first arm."
    reference = study.against[0] if study.against else ""
    parts = [
        f"# {title}",
        about,
        markdown_table(_columns(rows), _lines(rows, comparisons, reference)),
        _SCORES,
    ]
    if comparisons:
        parts.append(
            _TESTS.format(
                reference=reference,
                images=first["images"],
                resamples=study.resamples,
                units=_UNITS[study.resample],
                effect=study.effect,
            )
        )
    parts += ["## Networks, and mAP by IoU and size of the object", _scale(rows)]
    if len(rows[0].sources) > 1:
        parts += ["## mAP50-95 by source of the images", _sources(rows)]
    for against in study.against:
        for metric in (PRIMARY, *reversed(METRICS)):
            lines = [_test_line(c) for c in comparisons if (c.metric, c.plain_against) == (metric, against)]
            if lines:
                parts += [f"## {TITLES[metric]} against `{against}`", markdown_table(TEST_COLUMNS, lines)]
    doubts = dict.fromkeys(doubt for _, score in scored for doubt in score["doubts"])
    if (codes := len({score["code"] for _, score in scored})) > 1:
        doubts[f"the code changed during the study: {codes} versions"] = None
    parts += [f"Warning: {doubt}." for doubt in doubts]
    return "\n\n".join(parts) + "\n"


def _test_line(one: Comparison) -> list[str]:
    return [
        one.student,
        one.teacher,
        one.arm,
        str(one.seeds.n),
        signed(one.seeds.mean),
        interval(one.seeds.low, one.seeds.high),
        p_value(one.seeds.p),
        p_value(one.seeds_holm),
        share(one.power.found),
        _seeds(one.power.needed),
        interval(one.images.low, one.images.high),
        p_value(one.images.p),
        p_value(one.images_holm),
    ]


def _seeds(needed: int | None) -> str:
    if needed is None:
        return "-"
    return str(needed) if needed <= MOST_PAIRS else f"over {MOST_PAIRS}"


def _scale(rows: Sequence[ArmRow]) -> str:
    """Parameters, FLOPs, mAP at IoU 0.75 and by COCO's sizes: the columns of the papers' tables."""
    names = ["Parameters, M", "Of the head", "GFLOPs", "Of the head", "mAP75"]
    sizes = [key for key in rows[0].scores if key.startswith(f"{SIZED} ")]
    lines = []
    for row in rows:
        network = [
            f"{row.network[key] / unit:.2f}" if row.network else "-" for key, unit in NETWORK_UNITS.items()
        ]
        keys = [key for key in (STRICT, *sizes) if key in row.scores]
        scores = [points(row.mean(key), row.spread(key)) for key in keys]
        lines.append([row.student, row.teacher, row.arm, *network, *scores])
    return markdown_table(
        ["Student", "Teacher", "Arm", *names, *(f"mAP {key.removeprefix(SIZED).strip()}" for key in sizes)],
        lines,
    )


def _sources(rows: Sequence[ArmRow]) -> str:
    columns = ["Student", "Teacher", "Arm", *rows[0].sources]
    lines = [
        [row.student, row.teacher, row.arm, *(points(mean(v), spread(v)) for v in row.sources.values())]
        for row in rows
    ]
    return markdown_table(columns, lines)


def _size(hw: tuple[int, int]) -> str:
    return f"{hw[1]} x {hw[0]}"


def _columns(rows: Sequence[ArmRow]) -> list[str]:
    parted = [key.partition(" ") for key in _per_class(rows)]
    per_class = [f"{name} {TITLES[kind]}" for kind, _, name in parted]
    primary = [TITLES[PRIMARY]] if PRIMARY in rows[0].scores else []
    return ["Student", "Teacher", "Arm", *primary, "mAP50", "mAP50-95", "Δ", *per_class, "Epochs", "Seeds"]


def _per_class(rows: Sequence[ArmRow]) -> list[str]:
    """Scores by class, if there are not too many; ``table.csv`` has them all."""
    keys = [key for key in rows[0].scores if key.startswith("ap50")]
    return keys if len(keys) <= len(METRICS) * MAX_NAMED else []


def _lines(rows: Sequence[ArmRow], comparisons: Sequence[Comparison], reference: str) -> list[list[str]]:
    deltas = {
        (c.student, c.teacher, c.arm): signed(c.seeds.mean)  # over the seeds that both have
        for c in comparisons
        if c.metric == "map50_95" and c.plain_against == reference
    }
    lines = []
    for row in rows:
        shown = {key: points(row.mean(key), row.spread(key)) for key in row.scores}
        names = [row.student, row.teacher, row.arm, *([shown[PRIMARY]] if PRIMARY in shown else [])]
        means = [shown["map50"], shown["map50_95"], deltas.get((row.student, row.teacher, row.arm), "")]
        per_class = [shown[key] for key in _per_class(rows)]
        lines.append([*names, *means, *per_class, str(row.epochs), str(len(row.seeds))])
    return lines


def arm_row_values(row: ArmRow) -> dict[str, Any]:
    """A row as plain numbers, fractions in [0, 1]."""
    values: dict[str, Any] = {
        "student": row.student,
        "teacher": row.teacher,
        "arm": row.arm,
        "model": row.model,
        "epochs": row.epochs,
        "seeds": len(row.seeds),
    }
    for key in row.scores:
        values |= {f"{key} mean": row.mean(key), f"{key} std": row.spread(key)}
    return _plain({**values, **row.network})


def cell_values(scored: Scored) -> dict[str, Any]:
    """A cell's scores as plain numbers."""
    cell, score = scored
    values: dict[str, Any] = {
        "student": cell.student,
        "teacher": cell.teacher,
        "arm": cell.arm,
        "seed": cell.seed,
        "map50": score["map50"],
        "map50_95": score["map50_95"],
    }
    for name, entry in score["per_class"].items():
        values |= {f"ap50 {name}": entry["ap50"], f"ap50_95 {name}": entry["ap50_95"]}
    for name, entry in score["per_source"].items():
        values |= {f"map50 of {name}": entry["map50"], f"map50_95 of {name}": entry["map50_95"]}
    keys = ("epoch", "epochs", "training_seconds", "seconds_per_step", "peak_mib", "gpu_peak_mib")
    return {**values, **{key: score[key] for key in keys}, "folder": str(cell.folder)}


def test_values(one: Comparison) -> dict[str, Any]:
    """A comparison as plain numbers, fractions in [0, 1]."""
    values: dict[str, Any] = {
        key: getattr(one, key) for key in ("student", "teacher", "arm", "against", "metric")
    }
    for kind in ("seeds", "images"):
        test = getattr(one, kind)
        values |= {f"{kind} {key}": getattr(test, key) for key in ("n", "mean", "low", "high", "p")}
        values[f"{kind} p holm"] = getattr(one, f"{kind}_holm")
    values |= {"effect": one.effect, "power": one.power.found, "seeds for power 0.8": one.power.needed}
    return _plain(values)


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """All rows under the union of their columns; an unknown value is an empty field."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n", restval="")
    writer.writeheader()
    for row in rows:
        writer.writerow(row)
    return stream.getvalue().encode()


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for JSON and CSV: NaN becomes None."""
    return {k: None if isinstance(v, float) and isnan(v) else v for k, v in values.items()}
