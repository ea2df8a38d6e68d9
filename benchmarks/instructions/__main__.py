"""``python -m benchmarks.instructions``: whether pre- and post-processing became more expensive."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.instructions.baseline_counts import (
    GROWTH_LIMIT,
    baseline_key,
    changes,
    read_baseline,
    write_baseline,
)
from benchmarks.instructions.counting import NO_TOOL, count_stages, find_counter
from benchmarks.instructions.known_inputs import known_inputs
from edgestill.errors import DataError, DeviceError, ToolchainError, VerificationError

BASELINE = Path("tests/benchmarks/instructions/baseline.json")


def check(baseline: Path, *, update: bool) -> dict[str, Any]:
    """Count the stages on known inputs, and compare with a baseline or write it.

    Args:
        baseline: File of counts.
        update: Whether the counts become the baseline of this combination of libraries and processor.

    Raises:
        DeviceError: Nothing counts instructions here.
        DataError: The file has no counts of this combination, or is broken.
    """
    counter = find_counter()
    if counter is None:
        raise DeviceError(NO_TOOL, hint="apt install valgrind")
    key = baseline_key(counter)
    earlier = read_baseline(baseline)
    if key not in earlier and not update:
        raise DataError(
            f"{baseline} has no counts for {key}; it has {len(earlier)} other combinations",
            hint="python -m benchmarks.instructions --update, on a version that is known to be good",
        )
    counts = {name: count_stages(inputs, counter) for name, inputs in known_inputs().items()}
    result: dict[str, Any] = {
        "kind": "instructions",
        "tool": counter.name,
        "version": counter.version,
        "key": key,
    }
    if update:
        write_baseline(baseline, key, counts)
        return {**result, "counts": counts, "written": str(baseline)}
    return {**result, "changes": changes(counts, earlier[key])}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the result as JSON; the exit code, 6 if a count grew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--baseline", type=Path, default=BASELINE, metavar="FILE")
    parser.add_argument("--update", action="store_true", help="make these counts the baseline")
    args = parser.parse_args(argv)
    try:
        result = check(args.baseline, update=args.update)
        print(json.dumps(result, indent=2))
        _refuse_growth(result)
    except ToolchainError as error:
        print(f"benchmarks.instructions: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _refuse_growth(result: dict[str, Any]) -> None:
    grown = [c for c in result.get("changes", []) if c["grew"]]
    if grown:
        found = "; ".join(
            f"{c['inputs']} {c['stage']}: {c['instructions']} instructions a frame, {c['ratio']} times"
            for c in grown
        )
        raise VerificationError(
            f"more than {GROWTH_LIMIT:.0%} above the baseline: {found}",
            hint="if that is meant: python -m benchmarks.instructions --update",
        )


if __name__ == "__main__":
    sys.exit(main())
