"""Report sections on exported files, and on their comparison with the source model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report.blocks import Block, Cell, Details, Prose, Section, Table
from benchmarks.report.units import unit_of

Result = Mapping[str, Any]


def exports_section(exports: Sequence[Result]) -> Section | None:
    """The exported files and the data types that their layers run in; None without results."""
    if not exports:
        return None
    rows: list[list[Cell]] = [
        [
            _file(export),
            export.get("to"),
            export.get("precision"),
            " ".join(f"{count} {dtype}" for dtype, count in _executed(export).items()),
        ]
        for export in exports
    ]
    folds: list[Block] = [Details(summary=_file(e), blocks=[facts_table(e)]) for e in exports]
    table = Table(columns=("file", "format", "asked for", "layers run in"), rows=rows)
    return Section(title="Exported files", blocks=[table, *folds])


def verification_section(results: Sequence[Result]) -> Section | None:
    """Each file against its source, from results of ``verify`` and ``export``; None without results."""
    rows: list[list[Cell]] = []
    remarks: list[str] = []
    for result in results:
        v = result if "matched" in result else result.get("verify") or {}
        if "matched" not in v:
            continue
        name = Path(result["candidate"]).name if "candidate" in result else _file(result)
        remarks += [f"{name}: {line}" for key in ("failures", "doubts") for line in v.get(key, ())]
        rows.append(
            [
                name,
                v.get("images"),
                f"{v['matched']} of {v['reference_sure']}",
                v.get("extra"),
                sum(v.get("swapped", {}).values()),
                v.get("red_green_swaps"),
                _signed(v.get("score_drift_mean"), 4),
                points(v.get("candidate_map50_95")),
                _signed(v.get("drop_points"), 2),
                _within_limits(v),
            ]
        )
    if not rows:
        return None
    columns = ("file", "images", "matched", "extra", "class swaps", "red-green swaps", "score drift")
    return Section(
        title="Files against their source",
        blocks=[
            Table(
                columns=(*columns, "mAP50-95\npoints of 100", "lost\npoints of 100", "within limits"),
                rows=rows,
                caption="Matched: confident detections of the source (score >= 0.5) that the file also has.",
                tones={"yes": "good", "no": "bad", "nothing compared": "bad"},
            ),
            *(Prose(line) for line in remarks),
        ],
    )


def _within_limits(v: Result) -> str:
    """The verdict on a comparison; results of older versions passed where nothing was compared."""
    if v.get("failures"):
        return "no"
    is_empty = not v["reference_sure"] and not v.get("reference_map50_95")
    return "nothing compared" if is_empty or "failures" not in v else "yes"


def facts_table(data: Result) -> Table:
    """Any result as a table of names, values and units."""
    rows: list[list[Cell]] = [[name, value, unit_of(name) or ""] for name, value in _flat(data)]
    return Table(columns=("key", "value", "unit"), rows=rows)


def points(value: float | None, digits: int = 2) -> float | None:
    """A score in [0, 1] in points (of 100), rounded to some decimals."""
    return None if value is None else round(100 * value, digits)


def _file(export: Result) -> str:
    """Name of the file that a backend opens."""
    files = [Path(file) for file in export["files"]]
    return next((f.name for f in files if f.suffix in {".onnx", ".xml"}), files[0].name if files else "–")


def _executed(export: Result) -> Mapping[str, Any]:
    """Number of layers by the data type that the compiled model runs them in."""
    proved: Mapping[str, Any] = export["precision_proved"]
    executed = proved.get("executed", proved)
    return executed if isinstance(executed, Mapping) else {}


def _signed(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:+.{digits}f}"


def _flat(data: Result, prefix: str = "") -> list[tuple[str, str]]:
    """Names joined by dots, and values as text; nested lists are counted, None and empty lists omitted."""
    rows: list[tuple[str, str]] = []
    for name, value in data.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], (Mapping, list)):
            rows.append((prefix + name, f"{len(value)} entries"))
        elif isinstance(value, list):
            rows += [(prefix + name, ", ".join(map(str, value)))] if value else []
        elif value is not None:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            rows.append((prefix + name, text))
    return rows
