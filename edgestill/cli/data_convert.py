"""``edgestill data convert``: convert a downloaded data set to YOLO layout."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from edgestill.errors import UsageError

FORMATS = "dtld,bstld,lisa,coco,voc"
DESCRIPTION = (
    "Images that every reader decodes correctly are not re-encoded: the new data set holds hard links, or "
    "copies where the file system has no hard links (--copy always copies). Raw images (DTLD, BSTLD's riib) "
    "are decoded to 8 bits: JPEG of quality 95 without chroma subsampling, or PNG with --png. Repeat the "
    "command to continue an interrupted conversion. docs/reference/datasets.md says where each data set is "
    "available and which records are skipped. An image with an object that cannot be read is left out; if "
    "more than 5 % of the objects cannot, or none is converted, the exit code is 3."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("format", metavar=f"{{{FORMATS}}}", help="format of SRC")
    parser.add_argument(
        "source", type=Path, metavar="SRC", help="folder of the unpacked download; it is not changed"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the new data set")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the images, where they are not in SRC"
    )
    parser.add_argument(
        "--classes",
        metavar="NAME",
        help="class map: state, relevance, pictogram, light or a TOML file (default: state; of coco and voc: "
        "the classes of SRC)",
    )
    parser.add_argument(
        "--split",
        choices=("official", "sequence", "city"),
        help="keep the official splits, or assign whole sequences or cities by a hash (default: official, "
        "where the source has splits)",
    )
    for split in ("val", "test"):
        parser.add_argument(
            f"--{split}-share",
            type=float,
            default=0.1,
            metavar="S",
            help=f"share of {split} where the source has no such split (default 0.1)",
        )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the hash (default 0)")
    parser.add_argument("--png", action="store_true", help="write decoded images as PNG")
    parser.add_argument("--copy", action="store_true", help="copy images instead of linking them")
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: one per CPU)")
    parser.add_argument(
        "--force",
        action="store_true",
        help="repeat a finished conversion; files that are up to date are kept",
    )
    parser.add_argument(
        "--bulbs", action="store_true", help="lisa: boxes of lit bulbs instead of whole lights"
    )
    parser.add_argument(
        "--zero-based", action="store_true", help="voc: pixel coordinates start at 0 instead of 1"
    )
    parser.add_argument(
        "--sequence",
        metavar="REGEX",
        help="coco, voc: its first group, or whole match, in a file name is the sequence: '^(.*)_[0-9]+$'",
    )


def run(args: argparse.Namespace) -> Any:
    """Convert, and count what was written and what was skipped."""
    from distill.datasets.convert import SplitSettings, WriteOptions, convert_dataset  # noqa: PLC0415 (imports OpenCV)

    sequence = None if args.sequence is None else _pattern(args.sequence)
    given = {"images": args.images, "bulbs": args.bulbs, "zero_based": args.zero_based, "sequence": sequence}
    return convert_dataset(
        args.format,
        args.source,
        args.out,
        classes=args.classes,
        split_settings=SplitSettings(
            mode=args.split, val_share=args.val_share, test_share=args.test_share, seed=args.seed
        ),
        write_options=WriteOptions(png=args.png, copy=args.copy),
        workers=args.workers,
        force=args.force,
        options={name: value for name, value in given.items() if value},
    )


def show(result: Any) -> Any:
    """A table of splits and classes, then what was skipped and why."""
    from rich.console import Group  # noqa: PLC0415 (for the terminal only)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("split", "images", "without boxes", *result.classes, title=str(result.data_yaml))
    for split, boxes in result.boxes.items():
        counts = (str(boxes[name]) for name in result.classes)
        table.add_row(split, str(result.images[split]), str(result.without_boxes[split]), *counts)
    how = ", ".join(f"{n} {word}" for word, n in result.pictures.items())
    lines = [Text(f"split: {result.split}; images: {how}; boxes cut at the border: {result.clipped_boxes}")]
    for what, reasons in (("images", result.skipped_pictures), ("objects", result.skipped_objects)):
        lines += [Text(f"skipped {what}: {n} x {reason}", style="yellow") for reason, n in reasons.items()]
    lines += [Text(f"  {example}") for example in result.examples]
    lines += [Text(f"warning: {warning}", style="yellow") for warning in result.warnings]
    return Group(table, *lines)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(
            f"--sequence {text!r} is not a regular expression: {error}", hint="e.g. '^(.*)_'"
        ) from error
