"""The flags of ``edgestill export`` about calibration: which images, and how ranges come from them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgestill.dataset import Dataset
from edgestill.errors import UsageError

if TYPE_CHECKING:
    from edgestill.spec import ModelSpec
    from export.calibrate import Calibration
    from export.clipping import Method
    from export.method_trial import Trial

RANGE_IMAGES = 16  # that FP16's range is checked on where no --calib names others


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """What was asked for; the fields are those of ``export.build.Job``."""

    calibration: Calibration | None = None
    method: Method | None = None
    trial: Trial | None = None
    cache: Path | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument_group("calibration").add_argument
    add("--calib", type=Path, metavar="DATA.yaml", help="INT8: images to calibrate on, of its train split")
    add("--calib-images", type=int, default=128, metavar="N", help="how many of them (default 128)")
    add(
        "--calib-method",
        choices=["mse", "max", "entropy", "percentile", "auto"],
        help="INT8: what a byte covers of a tensor (default mse, the best that was measured); auto tries all "
        "four by mAP on 100 images that are neither calibrated nor verified on, which costs four builds "
        "and 500 looks at an image",
    )


def refuse_senseless(args: argparse.Namespace) -> None:
    """Tell of flags that do not go together before anything is opened.

    Raises:
        UsageError: INT8 without images, or a method for another precision.
    """
    if args.precision == "int8" and args.calib is None:
        raise UsageError(
            "INT8 needs images to calibrate on", hint="add --calib DATA.yaml; its train split is used"
        )
    if args.precision != "int8" and args.calib_method is not None:
        raise UsageError(
            f"--calib-method is for INT8, not for {args.precision}", hint="leave it out, or --precision int8"
        )


def read(args: argparse.Namespace, spec: ModelSpec, held: tuple[Dataset, str] | None) -> Choice:
    """Choose images, and the method or what to try methods on.

    Args:
        args: The parsed flags of the verb.
        spec: The model's.
        held: The data set and the split that the file is compared on; None if it is not.

    Raises:
        DataError: An image is calibrated and verified on, or none are left to try methods on.
    """
    from edgestill.cli.models import cache_folder  # noqa: PLC0415
    from export.calibrate import choose  # noqa: PLC0415 (brings onnxruntime)

    cache = cache_folder() / "calibration"
    if args.precision == "int8":
        dataset, auto = Dataset.open(args.calib), args.calib_method == "auto"
        judges = held[0].images(held[1]) if held else []
        chosen = choose(dataset, spec, count=args.calib_images, verified_on=judges)
        trial = _trial(dataset, spec, chosen, judges) if auto else None
        return Choice(
            calibration=chosen, method=None if auto else args.calib_method, trial=trial, cache=cache
        )
    if args.precision == "fp16" and args.to != "openvino":
        # Nothing is fitted to them: whether a number overflows may be asked of any image.
        if args.calib:
            dataset = Dataset.open(args.calib)
            return Choice(calibration=choose(dataset, spec, count=args.calib_images, fits=False), cache=cache)
        if held:
            dataset, split = held
            chosen = choose(dataset, spec, split=split, count=RANGE_IMAGES, fits=False)
            return Choice(calibration=chosen, cache=cache)
    return Choice()


def _trial(dataset: Dataset, spec: ModelSpec, chosen: Calibration, judges: list[Path]) -> Trial:
    from export.method_trial import third_split  # noqa: PLC0415

    return third_split(dataset, spec.classes, chosen, judges)
