"""How frames arrive in ``bench``, and for how long: ``--scenario``, ``--preset`` and what goes with them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from edgestill.errors import UsageError
from edgestill.registry import Registry

SCENARIOS = Registry("benchmarks.scenarios", "scenario")
PRESETS = ("mlperf-single-stream", "mlperf-multi-stream", "mlperf-offline")
FPS, STREAMS = 30.0, 4
DURATION_S, MIN_SAMPLES = 10.0, 50


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
        "--preset",
        choices=PRESETS,
        help="measure by the rules of a scenario of MLPerf, which take 10 minutes or more; with a shorter "
        "--duration-s the result says what it lacks. No preset makes a result an official one of MLPerf",
    )
    parser.add_argument(
        "--duration-s",
        type=float,
        metavar="S",
        help=f"minimum time to measure each model (default {DURATION_S:g}; of a preset 600), and again for "
        "its energy where there is a power sensor",
    )
    parser.add_argument(
        "--min-samples",
        type=int,
        metavar="N",
        help=f"minimum number of timed frames per model (default {MIN_SAMPLES}; several models get at least "
        "32); of a preset, of queries",
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


def amount(args: argparse.Namespace) -> tuple[float, int]:
    """Seconds and number of samples to measure at least."""
    if args.preset:
        from benchmarks.mlperf.presets import defaults  # noqa: PLC0415 (imports OpenCV)

        return defaults(args.preset, duration_s=args.duration_s, min_samples=args.min_samples)
    seconds = DURATION_S if args.duration_s is None else args.duration_s
    return seconds, MIN_SAMPLES if args.min_samples is None else args.min_samples


def bench_of(args: argparse.Namespace) -> Callable[..., dict[str, Any]]:
    """What measures the models.

    Raises:
        UsageError: There are both a preset and a scenario.
    """
    if args.preset is None:
        found: Callable[..., dict[str, Any]] = SCENARIOS.load(args.scenario).bench
        return found
    if args.scenario != "single":
        raise UsageError(
            f"--preset {args.preset} with --scenario {args.scenario}: a preset is a scenario",
            hint="leave one of them out",
        )
    from benchmarks.mlperf.presets import bench  # noqa: PLC0415 (imports OpenCV)

    return partial(bench, args.preset)
