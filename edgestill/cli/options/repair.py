"""The flag of ``edgestill export`` that repairs a file beyond its limits with blocks of higher precision."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.errors import UsageError

if TYPE_CHECKING:
    from export.publish import ExportResult
    from export.quantize.fallback import MeasureLatency

NOT_NEEDED = "the file is within the limits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flag."""
    parser.add_argument(
        "--repair",
        action="store_true",
        help="if the file exceeds the limits: rank blocks by the sensitivity of detections to them, move the "
        "most sensitive ones out of INT8 or FP16 until it is within the limits, and measure the latency",
    )


def refuse_conflicts(args: argparse.Namespace) -> None:
    """Refuse an impossible repair before a file is opened.

    Raises:
        UsageError: The precision has no blocks to move, or there are no images to compare on.
    """
    if not args.repair:
        return
    if args.precision in {"fp32", "bf16"} or (args.precision == "fp16" and args.to == "openvino"):
        raise UsageError(
            f"--repair has no blocks to move in {args.precision} for {args.to}",
            hint="it is for INT8, and for FP16 in an ONNX file or an engine",
        )
    if args.verify is None and args.calib is None:
        raise UsageError("--repair needs images to compare on", hint="add --verify DATA.yaml")


def read(args: argparse.Namespace, images: Path | None) -> MeasureLatency | None:
    """The measurement of latency for a repair; None without ``--repair``.

    Args:
        args: The parsed flags of the verb.
        images: A folder of images to run on; None for synthetic ones.
    """
    if not args.repair:
        return None

    def measure(a: Path, b: Path) -> Mapping[str, Any]:
        from benchmarks.measure.pace import pace  # noqa: PLC0415 (needed for a repair only)

        return pace(a, b, None if images is None else str(images))

    return measure


def summary(args: argparse.Namespace, made: ExportResult) -> dict[str, Any] | None:
    """The record of a repair for the result; None without ``--repair``."""
    if not args.repair:
        return None
    record = made.record.repair
    if record is None:
        return {"needed": False, "why": NOT_NEEDED}
    return {"needed": True, **record, "plot": None if made.plot is None else str(made.plot)}


def rows(repair: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Rows for the table."""
    if repair is None:
        return []
    if not repair["needed"]:
        return [("repair", f"not needed: {repair['why']}")]
    found = [("repair", f"{', '.join(repair['moved'])} moved, as {'; '.join(repair['because'])}")]
    for step in repair["steps"]:
        gain, latency = step["gain_points"], step["latency"]
        parts = [
            f"{len(step['moved'])} moved, {step['work']:.0%} of the work",
            "" if gain is None else f"{gain:+.2f} points of mAP50-95",
            f"{latency['ratio']:.3f} x the latency ({latency['low']:.3f} to {latency['high']:.3f})"
            if "ratio" in latency
            else f"latency: {latency['unproved']}",
            "; ".join(step["failures"]) or "within the limits",
        ]
        found.append(("repair step", ", ".join(part for part in parts if part)))
    return [*found, ("written", str(repair["plot"]))] if repair["plot"] else found
