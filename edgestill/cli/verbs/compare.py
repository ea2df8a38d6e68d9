"""``edgestill compare``: whether B is faster than A, by the samples of two results of ``bench``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgestill.files import read_json

SUMMARY = "Compare two results of bench: ratio of latencies, confidence interval, verdict"
EXAMPLE = "edgestill compare before.json after.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("a", type=Path, metavar="A.json", help="result that is the baseline")
    parser.add_argument("b", type=Path, metavar="B.json", help="result that is compared with it")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Read both results and compare their models."""
    from benchmarks.statistics.compare import HINT, compare_results  # noqa: PLC0415

    names = str(args.a), str(args.b)
    one, other = (read_json(path, hint=HINT) for path in (args.a, args.b))
    return {**compare_results(one, other, names=names), "a": names[0], "b": names[1]}


def show(result: dict[str, Any]) -> Any:
    """One line per comparison, then the doubts."""
    from rich.text import Text  # noqa: PLC0415 (for the terminal only)

    from benchmarks.statistics.compare import in_words  # noqa: PLC0415

    lines = [in_words(c) for c in result["comparisons"]]
    return Text("\n".join([*lines, *(f"warning: {line}" for line in result["doubts"])]))
