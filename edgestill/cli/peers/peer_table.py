"""The table of ``edgestill bench --peers`` in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgestill.cli.table_text import points

COLUMNS = (
    "program",
    "file",
    "quantised by",
    "network, ms",
    "of FP32",
    "interval",
    "frame, ms",
    "CPU ms",
    "mAP50-95, points",
    "agreement, points",
)


def table(result: Mapping[str, Any]) -> Any:
    """Rows by backend and program, what each program's figure covers, what is missing, and the doubts."""
    from rich.console import Group  # noqa: PLC0415 (for the terminal only)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    threads = "the programs' choice" if result["threads"] is None else result["threads"]
    title = f"{result['model']}, {result['rounds_done']} of {result['rounds']} rounds, threads: {threads}"
    shown = Table(*COLUMNS, title=title)
    lines = [
        f"{program}: {text}" for program, text in {r["program"]: r["covers"] for r in result["rows"]}.items()
    ]
    for row in result["rows"]:
        if row["missing"]:
            lines.append(f"missing: {row['program']} {row['file']}: {row['missing']}. {row['hint']}")
        shown.add_row(row["program"], row["file"], row["quantised_by"] or "-", *_figures(row))
    if not result["complete"]:
        lines.append("the same command again continues with the rounds that are not done")
    lines += [f"warning: {doubt}" for doubt in result["doubts"]]
    return Group(shown, Text("\n".join(lines)))


def _figures(row: Mapping[str, Any]) -> tuple[str, ...]:
    interval = "-" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
    return (
        _number(row["time_ms"], 2),
        _number(row["ratio"], 3),
        interval,
        _number(row["frame_ms"], 2),
        _number(row["cpu_ms"], 2),
        points(row.get("map50_95")),
        points(row.get("agreement_map50_95")),
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
