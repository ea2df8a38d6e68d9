"""The flag of ``edgestill export`` that repairs a file which is beyond its limits."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.errors import UsageError

if TYPE_CHECKING:
    from export.build import ExportResult
    from export.quantize.fallback import MeasureLatency

NOT_NEEDED = "the limits were held without"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flag."""
    parser.add_argument(
        "--repair",
        action="store_true",
        help="beyond the limits: rank blocks by what rounding does to detections, and move the worst ones "
        "out of INT8 or FP16 until the limits are held; tells what that costs",
    )


def refuse_senseless(args: argparse.Namespace) -> None:
    """Tell of a repair that cannot be before anything is opened.

    Raises:
        UsageError: The precision has nothing to repair, or there are no images to judge by.
    """
    if not args.repair:
        return
    if args.precision == "fp32" or (args.precision == "fp16" and args.to == "openvino"):
        raise UsageError(
            f"--repair has nothing to move in {args.precision} for {args.to}",
            hint="it is for INT8, and for FP16 in an ONNX file or an engine",
        )
    if args.verify is None and args.calib is None:
        raise UsageError("--repair needs images to judge by", hint="add --verify DATA.yaml")


def read(args: argparse.Namespace, pictures: Path | None) -> MeasureLatency | None:
    """What measures the cost of a repair; None if none was asked for.

    Args:
        args: The parsed flags of the verb.
        pictures: A folder of what is shown while time is taken.
    """
    if not args.repair:
        return None

    def measure(a: Path, b: Path) -> Mapping[str, Any]:
        from benchmarks.pace import pace  # noqa: PLC0415 (only where something was repaired)

        return pace(a, b, None if pictures is None else str(pictures))

    return measure


def told(args: argparse.Namespace, made: ExportResult) -> dict[str, Any] | None:
    """What a repair did, for the result; None if none was asked for."""
    if not args.repair:
        return None
    record = made.record.repair
    if record is None:
        return {"needed": False, "why": NOT_NEEDED}
    return {"needed": True, **record, "plot": None if made.plot is None else str(made.plot)}


def rows(repair: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """The lines of a table that a person reads."""
    if repair is None:
        return []
    if not repair["needed"]:
        return [("repair", f"not needed: {repair['why']}")]
    found = [("repair", f"{', '.join(repair['moved'])} moved out, as {'; '.join(repair['because'])}")]
    for step in repair["steps"]:
        gain, latency = step["gain_points"], step["latency"]
        parts = [
            f"{len(step['moved'])} moved, {step['work']:.0%} of the work",
            "" if gain is None else f"{gain:+.2f} points of mAP50-95",
            f"{latency['ratio']:.3f} x the time ({latency['low']:.3f} to {latency['high']:.3f})"
            if "ratio" in latency
            else f"time {latency['unproved']}",
            "; ".join(step["failures"]) or "within the limits",
        ]
        found.append(("repair step", ", ".join(part for part in parts if part)))
    return [*found, ("written", str(repair["plot"]))] if repair["plot"] else found
