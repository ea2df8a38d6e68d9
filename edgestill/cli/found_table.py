"""A Markdown table of what detectors find at the thresholds of ``edgestill run``."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.metrics.found import Found

COLUMNS = ("images", "lights", "found", "right class", "red and green swapped", "false per image")


def found_table(counts: Mapping[str, Found], corner: str) -> str:
    """One row for each entry; the shares of the right class are of those found."""
    rows = [f"| {corner} | {' | '.join(COLUMNS)} |", "|---|" + "---:|" * len(COLUMNS)]
    rows += [f"| {name} | {' | '.join(_cells(found))} |" for name, found in counts.items()]
    return "\n".join(rows) + "\n"


def _cells(found: Found) -> tuple[str, ...]:
    return (
        str(found.images),
        str(found.labels),
        f"{found.found} ({100 * found.found / max(found.labels, 1):.0f} %)",
        f"{found.right} ({100 * found.right / max(found.found, 1):.0f} %)",
        str(found.opposite),
        f"{found.false / found.images:.2f}",
    )
