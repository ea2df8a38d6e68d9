"""``edgestill compare``: whether B is faster than A, by the samples of two results of ``bench``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgestill.files import read_json

SUMMARY = "Compare two results of bench: ratio of latencies, confidence interval, verdict"
EXAMPLE = "edgestill compare before.json after.json"
_HINT = "edgestill bench MODEL --out FILE writes one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("a", type=Path, metavar="A.json", help="result that is the baseline")
    parser.add_argument("b", type=Path, metavar="B.json", help="result that is compared with it")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Read both results and compare their models."""
    from benchmarks.compare import compare_results  # noqa: PLC0415

    result = compare_results(read_json(args.a, hint=_HINT), read_json(args.b, hint=_HINT))
    return {**result, "a": str(args.a), "b": str(args.b)}


def show(result: dict[str, Any]) -> Any:
    """One line per comparison, then the doubts."""
    from rich.text import Text  # noqa: PLC0415 (for the terminal only)

    from benchmarks.compare import in_words  # noqa: PLC0415

    lines = [in_words(c) for c in result["comparisons"]]
    return Text("\n".join([*lines, *(f"doubt: {line}" for line in result["doubts"])]))
