"""``--imgsz``: the input size of a model."""

from __future__ import annotations

import argparse

from edgestill.errors import UsageError

STEP = 32  # the largest stride of the networks, pixels
MAX_SIDE = 16384  # pixels; ``runtime.file_reading`` reads no file with a longer side


def input_hw(text: str, flag: str = "--imgsz") -> tuple[int, int]:
    """Height and width from ``384x640`` or ``640``, in pixels.

    Args:
        text: The value of a flag.
        flag: The name of the flag, for the message.

    Raises:
        UsageError: It is not one number or two, or one is not a multiple of 32 from 32 to ``MAX_SIDE``.
    """
    sides = text.lower().split("x")
    if len(sides) not in {1, 2} or not all(map(_is_side, sides)):
        raise UsageError(
            f"{flag} {text} is not HxW in multiples of {STEP} up to {MAX_SIDE}",
            hint=f"e.g. {flag} 384x640, height first",
        )
    return int(sides[0]), int(sides[-1])


def _is_side(text: str) -> bool:
    """Whether this is a side of an input, in pixels."""
    digits = len(str(MAX_SIDE))  # int() raises ValueError for thousands of them
    return text.isdecimal() and len(text) <= digits and int(text) in range(STEP, MAX_SIDE + 1, STEP)


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
