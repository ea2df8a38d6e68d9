"""The flag of ``edgestill export`` that calibrates the scores of a file of lower precision than FP32."""

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
        help="all but FP32: fit a map from the file's scores to FP32's, on images that are used neither "
        "for calibration nor for verification (default val, or train if val is used); the runtime "
        "applies it",
    )


def refuse_conflicts(args: argparse.Namespace) -> None:
    """Raise UsageError for a map of FP32, which would be the identity."""
    if args.recalibrate is not None and args.precision == "fp32":
        raise UsageError("--recalibrate has nothing to fit in FP32", hint="leave it out")


def read(
    args: argparse.Namespace, calibration: Calibration | None, evaluation: EvaluationSet | None
) -> HeldOutImages | None:
    """Choose the images to fit a score map on; None without ``--recalibrate``.

    Args:
        args: The parsed flags of the verb.
        calibration: The calibration images.
        evaluation: The images that the file is compared on; None if it is not.

    Raises:
        DataError: An image is also used for verification, or none is left.
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


def doubts(recalibration: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Whether a map was asked for and could not be fitted."""
    if recalibration is None or recalibration["score_map"]:
        return ()
    where = f"{recalibration['images']} images of {recalibration['split']}"
    return (f"no score map was fitted: the file has too few detections on {where}; scores stay as they are",)


def rows(recalibration: Mapping[str, Any] | None, verify: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Rows for the table."""
    if recalibration is None:
        return []
    knots = ", ".join(f"{a:.3f} -> {b:g}" for a, b in recalibration["score_map"])
    found = [("score map", knots or "none: the file has too few detections to fit one")]
    effect = (verify or {}).get("recalibration")
    if effect is None:
        return found
    for name, label in SIDES.items():
        point = effect[name]
        figures = ", ".join(
            f"{kind} {point[kind]:.3f}" for kind in ("precision", "recall", "f1") if point[kind] is not None
        )
        drift = effect["score_drift_mean"].get(name)
        suffix = "" if drift is None else f", score drift {drift:+.4f}"
        found.append((f"at {effect['conf']} {label}", f"{point['boxes']} boxes, {figures}{suffix}"))
    return found
