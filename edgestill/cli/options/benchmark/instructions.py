"""``--count-instructions``: what pre- and post-processing cost, as a busy machine can repeat it."""

from __future__ import annotations

import argparse
from typing import Any

from edgestill.cli.options import sizes


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the flag."""
    parser.add_argument(
        "--count-instructions",
        action="store_true",
        help="also count the instructions a frame of letterbox and postprocess, by perf or valgrind; half a "
        "minute a model",
    )


def add_counts(result: dict[str, Any], args: argparse.Namespace) -> None:
    """Add ``instructions`` to each model of a result, if they were asked for."""
    if not args.count_instructions:
        return
    from benchmarks.instructions import of_models  # noqa: PLC0415 (imports OpenCV)

    names = ("backend", "device", "threads", "trust_engine")
    options = {name: getattr(args, name) for name in names}
    of_models.add_counts(
        result["models"], source=args.source, options={**options, "input_hw": sizes.chosen(args)}
    )


def in_lines(result: dict[str, Any]) -> list[str]:
    """The counts as lines of text."""
    if not any("instructions" in model for model in result["models"]):
        return []
    from benchmarks.instructions.of_models import in_words  # noqa: PLC0415

    return [line for model in result["models"] if (line := in_words(model))]
