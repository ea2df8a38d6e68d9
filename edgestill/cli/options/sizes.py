"""Input sizes as a user writes them."""

from __future__ import annotations

import argparse

from edgestill.errors import UsageError


def input_hw(text: str, flag: str = "--imgsz") -> tuple[int, int]:
    """``384x640`` or ``640``, the value of a flag: height and width.

    Raises:
        UsageError: It is not one or two sides in steps of 32.
    """
    sides = text.lower().split("x")
    if len(sides) not in {1, 2} or not all(side.isdecimal() and int(side) % 32 == 0 for side in sides):
        raise UsageError(
            f"{flag} {text} is not HxW in steps of 32", hint="e.g. --imgsz 384x640, height first"
        )
    return int(sides[0]), int(sides[-1])


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--imgsz`` of a verb that runs a file."""
    parser.add_argument(
        "--imgsz", metavar="HxW", help="size to run at, of a file with a free one (default: the file's own)"
    )


def chosen(args: argparse.Namespace) -> tuple[int, int] | None:
    """Height and width that ``--imgsz`` means; None if it is not there."""
    return None if args.imgsz is None else input_hw(args.imgsz)
