"""``--tile``: run the model on overlapping tiles of each frame, for small objects."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.tiling import Tiling

OVERLAP = 0.2


def add_arguments(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Declare ``--tile`` and ``--tile-overlap``; with ``several``, ``--tile`` may be repeated."""
    what = "run also on CxR overlapping tiles, e.g. 2x1: finds small objects, costs one inference per tile"
    more = "; repeat it to compare grids, 1x1 is the whole frame" if several else ""
    action = "append" if several else "store"
    parser.add_argument("--tile", metavar="CxR", action=action, help=what + more)
    parser.add_argument(
        "--tile-overlap",
        type=float,
        default=OVERLAP,
        metavar="F",
        help=f"fraction of its side that a tile shares with the next (default {OVERLAP})",
    )


def tiling(args: argparse.Namespace) -> Tiling:
    """The grid of ``--tile``; 1x1, the whole frame, if it was not given.

    Raises:
        UsageError: It is not COLUMNSxROWS, or the overlap is out of range.
    """
    return tilings(args, [args.tile or "1x1"])[0]


def tilings(args: argparse.Namespace, texts: list[str]) -> tuple[Tiling, ...]:
    """The grids of several values of ``--tile``.

    Raises:
        UsageError: One is not COLUMNSxROWS, or the overlap is out of range.
    """
    from runtime.tiling import Tiling  # noqa: PLC0415 (imports NumPy and OpenCV)

    return tuple(Tiling.parse(text, args.tile_overlap) for text in texts)
