"""The flags of the verbs that can look at tiles of a frame."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.tiling import Tiling

OVERLAP = 0.2


def add_arguments(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Declare ``--tile``, which ``several`` lets a user give more than once, and ``--tile-overlap``."""
    what = "look at CxR overlapping tiles too, e.g. 2x1: small objects, at the price of a run each"
    more = "; repeat it to compare, 1x1 is the frame alone" if several else ""
    action = "append" if several else "store"
    parser.add_argument("--tile", metavar="CxR", action=action, help=what + more)
    parser.add_argument(
        "--tile-overlap",
        type=float,
        default=OVERLAP,
        metavar="F",
        help=f"fraction of a tile that the next one shares (default {OVERLAP})",
    )


def tiling(args: argparse.Namespace) -> Tiling:
    """The tiles that were asked for; without ``--tile`` the frame is the only one.

    Raises:
        UsageError: They are no grid.
    """
    return tilings(args, [args.tile or "1x1"])[0]


def tilings(args: argparse.Namespace, texts: list[str]) -> tuple[Tiling, ...]:
    """One for each value of ``--tile``.

    Raises:
        UsageError: One is no grid.
    """
    from runtime.tiling import Tiling  # noqa: PLC0415 (brings NumPy, OpenCV)

    return tuple(Tiling.parse(text, args.tile_overlap) for text in texts)
