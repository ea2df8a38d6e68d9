"""``--data`` and ``--split`` of ``edgestill bench``: the images that calibrate and score what it exports."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgestill.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument_group("images of --suite and --peers").add_argument
    add(
        "--data",
        type=Path,
        metavar="DATA.yaml",
        help="images that calibrate INT8 files (train) and score all files",
    )
    add("--split", help="the split of --data that scores (default val; with --peers test, else val)")


def refuse_idle(args: argparse.Namespace) -> None:
    """Raise UsageError where nothing is exported that the images could calibrate or score."""
    if args.suite is None and args.peers is None and args.data is not None:
        raise UsageError("--data belongs to --suite and --peers", hint="--suite x86, or --peers")
