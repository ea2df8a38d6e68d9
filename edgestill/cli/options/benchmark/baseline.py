"""``--baseline``: whether a model became slower since an earlier result, for a continuous integration."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgestill.errors import UsageError, VerificationError
from edgestill.files import read_json


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the flag."""
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="FILE",
        help="an earlier result of bench; exit code 6 if a model is significantly slower than in it, and the "
        "conditions do not explain that",
    )


def read(args: argparse.Namespace) -> Any:
    """The earlier result; None if there is no flag. Refused before anything is measured.

    Raises:
        DataError: It cannot be read, is no result of bench, or is of another machine.
        UsageError: The scenario has no times of single frames.
    """
    if args.baseline is None:
        return None
    from benchmarks.statistics.compare import HINT, refuse_other_results  # noqa: PLC0415
    from benchmarks.statistics.regression import refuse_other_machine  # noqa: PLC0415
    from devices.detect import detect  # noqa: PLC0415

    if args.scenario != "single":
        raise UsageError(
            f"--baseline does not go with --scenario {args.scenario}", hint="leave one of them out"
        )
    name, found = str(args.baseline), read_json(args.baseline, hint=HINT)
    refuse_other_results(found, name)
    refuse_other_machine(found, detect().title, name=name)
    return found


def add_comparison(result: dict[str, Any], baseline: Any, args: argparse.Namespace) -> None:
    """Add ``baseline`` to a result: the comparisons with an earlier one, and what became slower."""
    if baseline is None:
        return
    from benchmarks.statistics.regression import against_baseline  # noqa: PLC0415

    result["baseline"] = against_baseline(baseline, result, name=str(args.baseline))


def in_lines(result: dict[str, Any]) -> list[str]:
    """The comparisons with the baseline as lines of text."""
    found = result.get("baseline")
    if not found:
        return []
    from benchmarks.statistics.compare import in_words  # noqa: PLC0415

    lines = [f"baseline: {in_words(c)}" for c in found["comparisons"]]
    return [*lines, *(f"doubt (baseline): {line}" for line in found["doubts"])]


def refuse_regressions(result: dict[str, Any]) -> None:
    """Raise VerificationError if a model is slower than in the baseline."""
    found = (result.get("baseline") or {}).get("regressions", [])
    if found:
        raise VerificationError(
            "; ".join(found),
            hint="measure both versions side by side to be sure: edgestill bench A B --processes 8",
        )
