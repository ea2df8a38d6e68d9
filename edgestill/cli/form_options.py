"""The flags of ``edgestill export`` that say how a file takes images and gives boxes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edgestill.errors import UsageError

if TYPE_CHECKING:
    from export.form import Form


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument_group("form of the file").add_argument
    add(
        "--output",
        choices=["raw", "compact"],
        default="raw",
        help="raw: every box, as other YOLO tools read it (default); compact: the 1000 best, [B, K, 6]",
    )
    add(
        "--input",
        choices=["float", "uint8"],
        default="float",
        help="float: scaled, [B, 3, H, W] (default); uint8: the image, [B, H, W, 3], scaled in the file",
    )
    add("--batch", type=int, metavar="N", help="images at once (default 1)")
    add("--dynamic", action="store_true", help="leave the number of images free; not for engines")


def read(args: argparse.Namespace) -> Form:
    """The form that the flags mean.

    Raises:
        UsageError: The flags contradict each other, or the file cannot have that form.
    """
    from export.form import Form  # noqa: PLC0415 (brings onnx)

    if args.dynamic and args.batch is not None:
        raise UsageError(f"--batch {args.batch} and --dynamic contradict each other", hint="give one of them")
    form = Form(
        output=args.output,
        pixels="uint8" if args.input == "uint8" else "float32",
        batch=None if args.dynamic else 1 if args.batch is None else args.batch,
    )
    form.check(args.to, args.precision)
    return form
