"""The flags of ``edgestill export`` that say how a file takes images and gives boxes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edgestill.errors import UsageError

if TYPE_CHECKING:
    from export.graph.interface import Interface


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument_group("form of the file").add_argument
    add(
        "--output",
        choices=["raw", "compact"],
        default="compact",
        help="compact: the 1000 best pairs of box and class, [B, K, 6] (default); raw: every box, as "
        "other YOLO tools read it",
    )
    add(
        "--input",
        choices=["float", "uint8"],
        default="float",
        help="float: scaled, [B, 3, H, W] (default); uint8: the image, [B, H, W, 3], scaled in the file",
    )
    add("--batch", type=int, metavar="N", help="images at once (default 1)")
    add(
        "--dynamic",
        nargs="?",
        const="batch",
        choices=["batch", "size", "both"],
        help="leave free: the number of images (what it means alone), height and width, or both",
    )


def read(args: argparse.Namespace) -> Interface:
    """The form that the flags mean.

    Raises:
        UsageError: The flags contradict each other, or the file cannot have that form.
    """
    from export.graph.interface import Interface  # noqa: PLC0415 (brings onnx)

    free_batch = args.dynamic in {"batch", "both"}
    if free_batch and args.batch is not None:
        raise UsageError(
            f"--batch {args.batch} and --dynamic {args.dynamic} contradict each other",
            hint="give one of them; --dynamic size leaves height and width free only",
        )
    interface = Interface(
        output=args.output,
        pixels="uint8" if args.input == "uint8" else "float32",
        batch=None if free_batch else 1 if args.batch is None else args.batch,
        free_hw=args.dynamic in {"size", "both"},
    )
    interface.check(args.to, args.precision)
    return interface
