"""``--imgsz``: the input size of a model."""

from __future__ import annotations

import argparse

from edgestill.errors import UsageError


def input_hw(text: str, flag: str = "--imgsz") -> tuple[int, int]:
    """Height and width from ``384x640`` or ``640``, in pixels.

    Args:
        text: The value of a flag.
        flag: The name of the flag, for the message.

    Raises:
        UsageError: It is not one number or two, or one is not a multiple of 32.
    """
    sides = text.lower().split("x")
    if len(sides) not in {1, 2} or not all(side.isdecimal() and int(side) % 32 == 0 for side in sides):
        raise UsageError(
            f"{flag} {text} is not HxW in multiples of 32", hint="e.g. --imgsz 384x640, height first"
        )
    return int(sides[0]), int(sides[-1])


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--imgsz`` of a verb that runs a model file."""
    parser.add_argument(
        "--imgsz",
        metavar="HxW",
        help="input height and width, for a file with dynamic size (default: the file's own)",
    )


def chosen(args: argparse.Namespace) -> tuple[int, int] | None:
    """Height and width of ``--imgsz``; None if it was not given."""
    return None if args.imgsz is None else input_hw(args.imgsz)
