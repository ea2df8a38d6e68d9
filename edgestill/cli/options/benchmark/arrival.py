"""``--scenario``, ``--fps`` and ``--streams`` of ``bench``: how frames arrive."""

from __future__ import annotations

import argparse

from edgestill.errors import UsageError
from edgestill.registry import Registry

SCENARIOS = Registry("benchmarks.scenarios", "scenario")
FPS, STREAMS = 30.0, 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--scenario",
        default="single",
        choices=SCENARIOS.names(),
        help="single: latency, the next frame when the boxes of the one before are there (default); paced: a "
        "camera at --fps, of which the newest frame is taken; multi: several such cameras; offline: "
        "throughput, several frames at a time",
    )
    parser.add_argument(
        "--fps",
        type=float,
        metavar="F",
        help=f"frames per second of each camera, with paced and multi (default {FPS:g})",
    )
    parser.add_argument(
        "--streams",
        type=int,
        metavar="K",
        help=f"number of cameras, with multi (default {STREAMS})",
    )


def cameras(args: argparse.Namespace) -> tuple[float, int]:
    """Frames per second of each camera, and the number of cameras.

    Raises:
        UsageError: A flag has no meaning in this scenario.
    """
    for flag, scenarios in (("fps", ("paced", "multi")), ("streams", ("multi",))):
        if getattr(args, flag) is not None and args.scenario not in scenarios:
            raise UsageError(
                f"--{flag} with --scenario {args.scenario}, which has no such cameras",
                hint=f"add --scenario {scenarios[-1]}, or leave --{flag} out",
            )
    streams = STREAMS if args.streams is None else args.streams
    return FPS if args.fps is None else args.fps, streams if args.scenario == "multi" else 1
