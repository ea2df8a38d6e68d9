"""The section of a page on ``bench --peers``: the programs side by side, and what each figure covers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.report.blocks import Block, Cell, Doubts, Prose, Section, Table
from benchmarks.report.verification import points

Result = Mapping[str, Any]

COLUMNS = (
    "program",
    "file",
    "quantised by",
    "network\nmilliseconds",
    "time over FP32",
    "95 % interval",
    "frame\nmilliseconds",
    "CPU time\nmilliseconds",
    "mAP50-95\npoints of 100",
    "agreement\npoints of 100",
)


def peers_section(result: Result) -> Section:
    """The rows of a comparison with other programs."""
    threads = "the programs' choice" if result["threads"] is None else result["threads"]
    rounds = f"{result['rounds_done']} of {result['rounds']} rounds of new processes in turns"
    covers = dict.fromkeys((row["program"], row["covers"]) for row in result["rows"])
    model = Path(result["model"]).name
    blocks: list[Block] = [
        Prose(f"{model}, threads: {threads}; {rounds}."),
        Table(
            columns=COLUMNS,
            rows=[_cells(row) for row in result["rows"]],
            caption="Time over that of edgestill with the FP32 file on the same backend. Agreement: mAP50-95 "
            "with FP32's detections as ground truth.",
        ),
        *(Prose(text, note=True) for text in _missing(result)),
        *(Prose(f"{program}: {text}") for program, text in covers),
        Doubts(result["doubts"]),
    ]
    return Section(title=f"Other programs: {model}", blocks=blocks)


def _cells(row: Result) -> list[Cell]:
    interval = None if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
    times: list[Cell] = [row["time_ms"], row["ratio"], interval, row["frame_ms"], row["cpu_ms"]]
    scores = [points(row.get(key), 1) for key in ("map50_95", "agreement_map50_95")]
    return [row["program"], row["file"], row["quantised_by"], *times, *scores]


def _missing(result: Result) -> list[str]:
    """Why rows have no figures."""
    rows = [row for row in result["rows"] if row["missing"]]
    return [f"{row['program']}, {row['file']}: {row['missing']}. {row['hint']}" for row in rows]
