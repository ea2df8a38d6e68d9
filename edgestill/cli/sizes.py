"""Input sizes as a user writes them."""

from __future__ import annotations

from edgestill.errors import UsageError


def input_hw(text: str) -> tuple[int, int]:
    """``384x640`` or ``640``, the value of ``--imgsz``: height and width.

    Raises:
        UsageError: It is not one or two sides in steps of 32.
    """
    sides = text.lower().split("x")
    if len(sides) not in {1, 2} or not all(side.isdecimal() and int(side) % 32 == 0 for side in sides):
        raise UsageError(
            f"--imgsz {text} is not HxW in steps of 32", hint="e.g. --imgsz 384x640, height first"
        )
    return int(sides[0]), int(sides[-1])
