"""The flags of ``edgestill export`` for the inputs and outputs of a file."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edgestill.errors import UsageError

if TYPE_CHECKING:
    from export.graph.interface import Interface

DEFAULT_OPSET = 17  # export.graph.writer.OPSET, which brings onnx


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument_group("inputs and outputs").add_argument
    add(
        "--output",
        choices=["raw", "compact"],
        default="compact",
        help="compact: the 1000 best pairs of box and class, [B, K, 6] (default); raw: all boxes, as other "
        "YOLO tools read them",
    )
    add(
        "--input",
        choices=["float", "uint8"],
        default="float",
        help="float: scaled image, [B, 3, H, W] (default); uint8: [B, H, W, 3], scaled in the file",
    )
    add("--batch", type=int, metavar="N", help="batch size (default 1)")
    add(
        "--dynamic",
        nargs="?",
        const="batch",
        choices=["batch", "size", "both"],
        help="leave free: batch (without a value), size (height and width), or both",
    )
    add(
        "--opset",
        type=int,
        choices=[13, 17],
        default=DEFAULT_OPSET,
        help="version of ONNX's operators (default 17); 13, with --to onnx --precision fp32, is for the "
        "TensorRT 8.2 of a Jetson Nano or TX2",
    )


def read(args: argparse.Namespace) -> Interface:
    """The interface of the file.

    Raises:
        UsageError: The flags contradict each other, or the target does not support the interface.
    """
    from export.graph.interface import Interface  # noqa: PLC0415 (brings onnx)

    free_batch = args.dynamic in {"batch", "both"}
    if free_batch and args.batch is not None:
        raise UsageError(
            f"--batch {args.batch} and --dynamic {args.dynamic} contradict each other",
            hint="give one of them; --dynamic size leaves only height and width free",
        )
    interface = Interface(
        output=args.output,
        pixels="uint8" if args.input == "uint8" else "float32",
        batch=None if free_batch else 1 if args.batch is None else args.batch,
        free_hw=args.dynamic in {"size", "both"},
        opset=args.opset,
    )
    interface.check(args.to, args.precision)
    return interface
