"""``edgestill data``: render a data set or a clip, convert a downloaded one, check a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgestill.cli import data_anchors, data_convert
from edgestill.errors import DataError, UsageError
from edgestill.files import to_json_text

SUMMARY = "Render street scenes with traffic lights; convert, check and plot data sets"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-verbs."""
    verbs = parser.add_subparsers(
        dest="action", required=True, metavar="{synth,clip,convert,check,plots,anchors}"
    )
    synth = verbs.add_parser("synth", help="render a data set in YOLO layout", allow_abbrev=False)
    synth.add_argument("--out", type=Path, required=True, help="folder to create")
    synth.add_argument("--images", type=int, required=True, help="how many pictures, all splits together")
    synth.add_argument("--splits", default="0.7,0.15,0.15", metavar="T,V,T", help="default 0.7,0.15,0.15")
    synth.add_argument("--workers", type=int, default=None, help="processes (default: one a CPU)")
    clip = verbs.add_parser("clip", help="render a short drive with exact boxes", allow_abbrev=False)
    clip.add_argument("--out", type=Path, required=True, help="the .mp4; its boxes become NAME.gt.json")
    clip.add_argument("--seconds", type=float, default=8.0, help="default 8")
    clip.add_argument("--fps", type=float, default=15.0, help="default 15")
    for rendered in (synth, clip):
        rendered.add_argument(
            "--seed", type=int, default=0, help="the same seed gives the same pictures (default 0)"
        )
        rendered.add_argument("--size", default="1280x720", metavar="WxH", help="default 1280x720")
        rendered.add_argument("--force", action="store_true", help="replace what exists")
    data_convert.add_arguments(
        verbs.add_parser(
            "convert",
            help="make a data set in YOLO layout of a downloaded one",
            description=data_convert.DESCRIPTION,
            allow_abbrev=False,
        )
    )
    check = verbs.add_parser("check", help="find what is wrong with a data set", allow_abbrev=False)
    check.add_argument("data", type=Path, metavar="DATA.yaml")
    plots = verbs.add_parser(
        "plots", help="draw box sizes, positions and sample pictures", allow_abbrev=False
    )
    plots.add_argument("data", type=Path, metavar="DATA.yaml")
    plots.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    plots.add_argument("--force", action="store_true", help="replace what exists")
    data_anchors.add_arguments(
        verbs.add_parser("anchors", help="do a model's anchors suit a data set?", allow_abbrev=False)
    )


def run(args: argparse.Namespace) -> Any:
    """Run the sub-verb."""
    if args.action == "convert":
        return data_convert.run(args)
    if args.action == "anchors":
        return data_anchors.run(args)
    if args.action == "check":
        from distill.datasets.check import check_dataset  # noqa: PLC0415 (opens OpenCV)

        return check_dataset(args.data)
    if args.action == "plots":
        from distill.plots.dataset import plot_dataset  # noqa: PLC0415 (opens OpenCV)

        return plot_dataset(args.data, args.out, force=args.force)
    if args.action == "clip":
        from distill.datasets.synth.clip import write_clip  # noqa: PLC0415 (opens OpenCV)

        return write_clip(
            args.out,
            seconds=args.seconds,
            fps=args.fps,
            size_wh=_size(args.size),
            seed=args.seed,
            force=args.force,
        )
    from distill.datasets.synth.write import write_dataset  # noqa: PLC0415 (opens OpenCV)

    return write_dataset(
        args.out,
        args.images,
        args.seed,
        size_wh=_size(args.size),
        shares=_shares(args.splits),
        workers=args.workers,
        force=args.force,
    )


def verdict(result: Any) -> None:
    """Raise DataError, after the report was printed, if ``check`` found errors."""
    if not getattr(result, "errors", None):
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in result.error_counts.items())
    raise DataError(
        f"{result.data_yaml} has {sum(result.error_counts.values())} errors: {kinds}",
        hint=f"mend or remove the files named in the report, first {result.errors[0].where}",
    )


def show(result: Any) -> Any:
    """Draw the result for a person."""
    from rich.console import Group  # noqa: PLC0415 (only a person needs it)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if isinstance(result, dict) and "proposed_px" in result:
        return data_anchors.show(result)
    if hasattr(result, "skipped_pictures"):
        return data_convert.show(result)
    if not hasattr(result, "splits"):
        return Text(to_json_text(result))
    table = Table("split", "images", "without boxes", *result.classes, title=str(result.data_yaml))
    for split, report in result.splits.items():
        counts = (str(report.boxes[name]) for name in result.classes)
        table.add_row(split, str(report.images), str(report.without_boxes), *counts)
    sides = result.box_side_px or {}
    lines = [Text("box side, px: " + ", ".join(f"{k} {v}" for k, v in sides.items()))] if sides else []
    lines += [Text(f"error ({e.kind}): {e.what}", style="red") for e in result.errors]
    lines += [Text(f"warning: {warning}", style="yellow") for warning in result.warnings]
    return Group(table, *lines)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    try:
        return int(width), int(height)
    except ValueError as error:
        raise UsageError(f"--size {text!r} is not WIDTHxHEIGHT", hint="e.g. --size 1280x720") from error


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"--splits {text!r} is not three numbers", hint="e.g. --splits 0.7,0.15,0.15"
        ) from error
