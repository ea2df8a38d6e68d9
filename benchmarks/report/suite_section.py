"""The section of a page on a suite: a table of its cells, and plots of accuracy over cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.report import plots
from benchmarks.report.blocks import Block, Cell, Doubts, Heading, Prose, Section, Table
from benchmarks.report.verification import points

Result = Mapping[str, Any]

LEAST_POINTS = 3  # fewer are read faster in the table
#: Label of the horizontal axis, by the cost of a front.
COSTS = {
    "p50_ms": "time of a frame, median, milliseconds",
    "energy_mj": "energy of a frame, millijoules",
    "file_mib": "file, mebibytes",
}


def suite_section(suite: Result) -> Section:
    """The cells of a suite and their fronts."""
    blocks: list[Block] = [Prose(_what(suite)), _table(suite["cells"])]
    for cost, label in COSTS.items():
        blocks += _front(suite, cost, label)
    if any(value is not None for value in suite["limits"].values()):
        blocks.append(
            Prose(f"Best within the limits ({_limits(suite)}): {suite['best'] or 'none'}.", note=True)
        )
    blocks.append(Doubts([f"{entry['key']}: {entry['reason']}" for entry in suite["failed"]]))
    return Section(title=f"Suite {suite['name']}", blocks=blocks)


def _what(suite: Result) -> str:
    footage, split = suite["footage"], suite["inputs"]["split"]
    frames = f"{footage['frames']} frames of {footage['source']}" if footage else "nothing was measured"
    accuracy = f" mAP on the split {split}." if split else " Accuracy was not measured."
    return f"{len(suite['cells'])} cells, each measured in new processes, in turns; {frames}.{accuracy}"


def _table(cells: Sequence[Result]) -> Table:
    """One row for each cell; medians over its visits."""
    has_cameras = any(cell["dropped_share"] is not None for cell in cells)
    rows: list[list[Cell]] = [
        [
            cell["model"],
            _size(cell),
            cell["precision"],
            cell["backend"],
            cell["threads"],
            cell["scenario"],
            cell["p50_ms"],
            _range(cell["p50_range_ms"]),
            cell["p90_ms"],
            cell["time_over_fp32"],
            _range(cell["time_over_fp32_range"]),
            cell["throughput_fps"],
            *((cell["age_p95_ms"], cell["dropped_share"]) if has_cameras else ()),
            cell["rss_mib"],
            cell["energy_mj"],
            cell["file_mib"],
            points(cell["map50_95"], 1),
            points(cell["map50"], 1),
            _matched(cell),
        ]
        for cell in cells
    ]
    columns = ("model", "input", "precision", "backend", "threads", "scenario")
    times = (
        "p50\nmilliseconds",
        "range of it\nmilliseconds",
        "p90\nmilliseconds",
        "time over FP32",
        "range of it",
    )
    cameras = ("age p95\nmilliseconds", "dropped\nfraction, 0 to 1") if has_cameras else ()
    costs = (
        "frames per second",
        *cameras,
        "memory\nmebibytes",
        "energy a frame\nmillijoules",
        "file\nmebibytes",
    )
    scores = ("mAP50-95\npoints of 100", "mAP50\npoints of 100", "matched")
    return Table(
        columns=(*columns, *times, *costs, *scores),
        rows=rows,
        caption="Medians over the visits, ranges from the smallest to the largest. Matched: "
        "confident detections of the checkpoint that the file has too. A dash: not measured, or too few "
        "samples.",
    )


def _front(suite: Result, cost: str, label: str) -> Iterator[Block]:
    """Accuracy over a cost of the cells that are measured frame by frame."""
    cells = [cell for cell in suite["cells"] if cell["scenario"] == "single"]
    points = [
        (_label(cell), float(cell[cost]), float(cell["map50_95"]))
        for cell in cells
        if cell[cost] is not None and cell["map50_95"] is not None
    ]
    if len(points) < LEAST_POINTS:
        return
    kept = [_label(cell) for key in suite["fronts"][cost] for cell in cells if cell["key"] == key]
    yield Heading(f"Accuracy against {label}")
    caption = f"Not beaten by another cell (on the line): {', '.join(kept)}."
    yield plots.plot(plots.accuracy_front, points, kept, label, caption=caption)


def _label(cell: Result) -> str:
    return f"{cell['model']} {_size(cell)} {cell['precision']} {cell['backend']} x{cell['threads']}"


def _size(cell: Result) -> str:
    return "x".join(map(str, cell["input_hw"])) if cell["input_hw"] else str(cell["size"])


def _range(values: Sequence[float] | None) -> str | None:
    return f"{values[0]:.3g} to {values[1]:.3g}" if values else None


def _matched(cell: Result) -> str | None:
    known = cell["confident_detections"]
    return f"{cell['matched_detections']} of {known}" if known else None


def _limits(suite: Result) -> str:
    limits = suite["limits"]
    texts = []
    if limits["max_ms"] is not None:
        texts.append(f"at most {limits['max_ms']:g} ms")
    if limits["min_map"] is not None:
        texts.append(f"at least {100 * limits['min_map']:g} points of mAP50-95")
    return ", ".join(texts)
