"""The flag of ``edgestill export`` that gives a file of fewer bits the scores of its source."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.dataset import Dataset
from edgestill.errors import UsageError

if TYPE_CHECKING:
    from export.quantize.calibration.images import Calibration
    from export.verify.score_calibration import HeldOutImages
    from export.verify.source_check import EvaluationSet

SPLITS = ("train", "val", "test")
SIDES = {"reference": "FP32", "before": "without the map", "after": "with it"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flag."""
    parser.add_argument(
        "--recalibrate",
        metavar="DATA.yaml[:SPLIT]",
        help="INT8, FP16: fit a rising map of scores to FP32's on images that are neither calibrated nor "
        "verified on (default val, or train where val is verified on); the runtime applies it",
    )


def refuse_senseless(args: argparse.Namespace) -> None:
    """Raise UsageError if a map was asked for that would map nothing."""
    if args.recalibrate is not None and args.precision == "fp32":
        raise UsageError("--recalibrate maps scores to those of fp32", hint="leave it out")


def read(
    args: argparse.Namespace, calibration: Calibration | None, evaluation: EvaluationSet | None
) -> HeldOutImages | None:
    """Choose the images; None if no map was asked for.

    Args:
        args: The parsed flags of the verb.
        calibration: The images that ranges come from.
        evaluation: The images that the file is compared on; None if it is not.

    Raises:
        DataError: An image is also verified on, or none are left.
        UsageError: The data set has no such split.
    """
    if args.recalibrate is None:
        return None
    from export.verify.score_calibration import choose_held_out  # noqa: PLC0415 (brings onnxruntime)

    name, colon, split = args.recalibrate.rpartition(":")
    if not colon or split not in SPLITS:
        name, split = args.recalibrate, None
    return choose_held_out(
        Dataset.open(Path(name)),
        split,
        calibrated=calibration.paths if calibration and args.precision == "int8" else (),
        verified=evaluation.images if evaluation else (),
    )


def rows(recalibration: Mapping[str, Any] | None, verify: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """The lines of a table that a person reads."""
    if recalibration is None:
        return []
    knots = ", ".join(f"{a:.3f} -> {b:g}" for a, b in recalibration["score_map"])
    found = [("map of scores", knots or "none: the file finds too little to fit one")]
    effect = (verify or {}).get("recalibration")
    if effect is None:
        return found
    for name, label in SIDES.items():
        point = effect[name]
        figures = ", ".join(
            f"{kind} {point[kind]:.3f}" for kind in ("precision", "recall", "f1") if point[kind] is not None
        )
        drift = effect["score_drift_mean"].get(name)
        told = "" if drift is None else f", score drift {drift:+.4f}"
        found.append((f"at {effect['conf']} {label}", f"{point['boxes']} boxes, {figures}{told}"))
    return found
