"""The calibration flags of ``edgestill export``: images and range method."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgestill.dataset import Dataset
from edgestill.errors import UsageError

if TYPE_CHECKING:
    from edgestill.checkpoint import Checkpoint
    from edgestill.spec import ModelSpec
    from export.quantize.calibration.auto_method import MethodTrial
    from export.quantize.calibration.images import Calibration
    from export.quantize.calibration.range_methods import Method
    from export.verify.source_check import EvaluationSet

RANGE_IMAGES = 16  # for the range check of FP16 without --calib


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """The calibration of a job; the fields are those of ``export.job.Job``."""

    calibration: Calibration | None = None
    method: Method | None = None
    trial: MethodTrial | None = None
    cache: Path | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument_group("calibration").add_argument
    add(
        "--calib",
        type=Path,
        metavar="DATA.yaml",
        help="INT8: data set to calibrate on; its train split is used",
    )
    add(
        "--calib-images",
        type=int,
        default=128,
        metavar="N",
        help="number of calibration images (default 128)",
    )
    add(
        "--calib-method",
        choices=["mse", "max", "entropy", "percentile", "auto"],
        help="INT8: range method of activations (default mse, the best measured); auto compares all four by "
        "mAP on 100 images that are used neither for calibration nor for verification, with four builds and "
        "up to 500 inferences",
    )
    add(
        "--calib-anew",
        action="store_true",
        help="INT8 of a QAT checkpoint: calibrate again and ignore its trained scales",
    )


def refuse_conflicts(args: argparse.Namespace) -> None:
    """Refuse contradicting flags before a file is opened.

    Raises:
        UsageError: A calibration flag is given for another precision than INT8.
    """
    if args.precision != "int8" and args.calib_anew:
        raise UsageError(
            f"--calib-anew is for INT8, not for {args.precision}", hint="leave it out, or --precision int8"
        )
    if args.precision != "int8" and args.calib_method is not None:
        raise UsageError(
            f"--calib-method is for INT8, not for {args.precision}", hint="leave it out, or --precision int8"
        )


def with_scales(args: argparse.Namespace, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with its trained scales, or without them for ``--calib-anew``.

    Raises:
        UsageError: INT8 has neither scales nor images, or a range method is given for trained scales.
    """
    if args.calib_anew:
        checkpoint = replace(checkpoint, scheme=None)
    if args.precision == "int8" and checkpoint.scheme is None and args.calib is None:
        raise UsageError(
            "INT8 needs images to calibrate on", hint="add --calib DATA.yaml; its train split is used"
        )
    if checkpoint.scheme is not None and args.calib_method is not None:
        raise UsageError(
            f"--calib-method {args.calib_method}: the checkpoint's scales are trained",
            hint="leave it out, or add --calib-anew to ignore the trained scales",
        )
    return checkpoint


def read(args: argparse.Namespace, checkpoint: Checkpoint, evaluation: EvaluationSet | None) -> Choice:
    """Choose the calibration images, and the range method or the images to choose it on.

    Args:
        args: The parsed flags of the verb.
        checkpoint: The checkpoint, from ``with_scales``.
        evaluation: The images that the file is compared on; None if it is not.

    Raises:
        DataError: An image is used for calibration and verification, or none is left to choose a method on.
    """
    from edgestill.cache import cache_folder  # noqa: PLC0415
    from export.quantize.calibration.images import choose_images  # noqa: PLC0415 (brings onnxruntime)

    cache, spec = cache_folder("calibration"), checkpoint.spec
    is_trained = checkpoint.scheme is not None
    if args.precision == "int8" and not is_trained:
        dataset, auto = Dataset.open(args.calib), args.calib_method == "auto"
        verified_on = evaluation.images if evaluation else []
        chosen = choose_images(dataset, spec, count=args.calib_images, verified_on=verified_on)
        trial = _trial(dataset, spec, chosen, verified_on) if auto else None
        return Choice(
            calibration=chosen, method=None if auto else args.calib_method, trial=trial, cache=cache
        )
    if _is_checked(args, is_trained=is_trained):
        # The range check fits nothing, so that evaluation images may be used.
        if args.calib:
            dataset = Dataset.open(args.calib)
            return Choice(
                calibration=choose_images(dataset, spec, count=args.calib_images, fits=False), cache=cache
            )
        if evaluation:
            dataset, split = evaluation.dataset, evaluation.split
            chosen = choose_images(dataset, spec, split=split, count=RANGE_IMAGES, fits=False)
            return Choice(calibration=chosen, cache=cache)
    return Choice()


def _is_checked(args: argparse.Namespace, *, is_trained: bool) -> bool:
    """Whether images are needed to which nothing is fitted: for the range of FP16, or to rank blocks."""
    if args.precision == "int8":
        has_half = args.to in {"tensorrt", "tensorrt-rtx"}
        return is_trained and (has_half or (args.repair and args.calib is not None))
    return bool(args.precision == "fp16" and args.to != "openvino")


def _trial(dataset: Dataset, spec: ModelSpec, chosen: Calibration, verified_on: list[Path]) -> MethodTrial:
    from export.quantize.calibration.auto_method import trial_images  # noqa: PLC0415

    return trial_images(dataset, spec.classes, chosen, verified_on)
