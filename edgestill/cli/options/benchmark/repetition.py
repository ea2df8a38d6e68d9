"""``--processes`` and ``--build``: how often a measurement is begun anew."""

from __future__ import annotations

import argparse
from typing import Any

from edgestill.cli.options.model import model_file
from edgestill.errors import ArtifactError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--processes",
        type=int,
        default=0,
        metavar="N",
        help="measure each model in N fresh processes, in turns with those of the others (5 or more for a "
        "verdict); the interval of a ratio then covers the difference between processes",
    )
    parser.add_argument(
        "--build",
        nargs=2,
        action="append",
        default=[],
        metavar=("MODEL", "OTHER"),
        help="another build of MODEL, which its processes use in turns with it, e.g. a second engine of one "
        "ONNX file; repeatable",
    )


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What the flags say, as keyword arguments of ``benchmarks.measure.collect.Settings``.

    Raises:
        UsageError: They contradict other flags, or name a model that is not measured.
        ArtifactError: Another build is missing.
    """
    if args.processes < 0 or (args.build and not args.processes):
        raise UsageError(
            f"--processes {args.processes}{' with --build' if args.build else ''} measures nothing",
            hint="e.g. --processes 8",
        )
    if args.processes and (args.scenario != "single" or args.preset or args.stages != "boxes"):
        arrival = f"--preset {args.preset}" if args.preset else f"--scenario {args.scenario}"
        flag = f"--stages {args.stages}" if args.stages != "boxes" else arrival
        raise UsageError(f"--processes does not go with {flag}", hint="leave one of them out")
    unknown = [model for model, _ in args.build if model not in args.models]
    if unknown:
        raise UsageError(
            f"--build {unknown[0]}: no model of that name is measured",
            hint=f"one of {', '.join(args.models)}, as it is written in the command",
        )
    builds = tuple((model_file(model), model_file(other)) for model, other in args.build)
    for _, other in builds:
        if not other.is_file():
            raise ArtifactError(
                f"{other} does not exist", hint="give a second file that was built of the same network"
            )
    is_interleaved = args.interleave or args.processes > 0
    return {"processes": args.processes, "builds": builds, "interleave": is_interleaved}
