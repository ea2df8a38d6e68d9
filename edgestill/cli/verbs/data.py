"""``edgestill data``: render a data set or a video, convert a downloaded one, check and plot a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgestill.cli import data_anchors, data_convert
from edgestill.errors import DataError, UsageError
from edgestill.files import to_json_text

SUMMARY = "Create data sets in YOLO layout: render street scenes, convert downloads; check and plot them"
EXAMPLE = "edgestill data synth --out scenes --images 500"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-verbs."""
    verbs = parser.add_subparsers(
        dest="action", required=True, metavar="{synth,clip,convert,check,plots,anchors}"
    )

    def add(name: str, summary: str, description: str | None = None) -> argparse.ArgumentParser:
        description = description or f"{summary[:1].upper()}{summary[1:]}."
        return verbs.add_parser(name, help=summary, description=description, allow_abbrev=False)

    _add_synth(add("synth", "render street scenes with traffic lights as a labelled data set"))
    _add_clip(add("clip", "render a video of a drive, with exact boxes"))
    data_convert.add_arguments(
        add("convert", "convert a downloaded data set to YOLO layout", data_convert.DESCRIPTION)
    )
    check = add("check", "count labels, find broken files and images that occur in two splits")
    check.add_argument("data", type=Path, metavar="DATA.yaml", help="the data set")
    plots = add("plots", "plot box sizes and positions, and sample images with their boxes")
    plots.add_argument("data", type=Path, metavar="DATA.yaml", help="the data set")
    plots.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the plots")
    plots.add_argument("--force", action="store_true", help="overwrite existing files")
    data_anchors.add_arguments(
        add("anchors", "check the default anchors against a data set, and propose others")
    )


def _add_synth(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the new data set")
    add("--images", type=int, required=True, metavar="N", help="number of images, all splits together")
    add(
        "--splits",
        default="0.7,0.15,0.15",
        metavar="T,V,T",
        help="shares of train, val and test (default 0.7,0.15,0.15)",
    )
    add("--workers", type=int, metavar="N", help="processes (default: one per CPU)")
    _add_rendering(parser)


def _add_clip(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--out",
        type=Path,
        required=True,
        metavar="FILE.mp4",
        help="the video; its boxes are written to FILE.gt.json beside it",
    )
    add("--seconds", type=float, default=8.0, metavar="S", help="length of the video (default 8)")
    add("--fps", type=float, default=15.0, help="frames per second (default 15)")
    _add_rendering(parser)


def _add_rendering(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--seed", type=int, default=0, metavar="N", help="the same seed renders the same images (default 0)")
    add("--size", default="1280x720", metavar="WxH", help="width and height in pixels (default 1280x720)")
    add("--force", action="store_true", help="overwrite existing files")


def run(args: argparse.Namespace) -> Any:
    """Run the sub-verb."""
    if args.action == "convert":
        return data_convert.run(args)
    if args.action == "anchors":
        return data_anchors.run(args)
    if args.action == "check":
        from distill.datasets.check import check_dataset  # noqa: PLC0415 (imports OpenCV)

        return check_dataset(args.data)
    if args.action == "plots":
        from distill.plots.dataset import plot_dataset  # noqa: PLC0415 (imports OpenCV)

        return plot_dataset(args.data, args.out, force=args.force)
    if args.action == "clip":
        from distill.datasets.synth.clip import write_clip  # noqa: PLC0415 (imports OpenCV)

        return write_clip(
            args.out,
            seconds=args.seconds,
            fps=args.fps,
            size_wh=_size(args.size),
            seed=args.seed,
            force=args.force,
        )
    from distill.datasets.synth.write import write_dataset  # noqa: PLC0415 (imports OpenCV)

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
    """Raise DataError if ``check`` found errors, after its report was printed."""
    if not getattr(result, "errors", None):
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in result.error_counts.items())
    total = sum(result.error_counts.values())
    raise DataError(
        f"{result.data_yaml} has {total} error{'' if total == 1 else 's'}: {kinds}",
        hint=f"correct or remove the files that the report names, first {result.errors[0].where}",
    )


def show(result: Any) -> Any:
    """The result of a sub-verb as a table, or as JSON where it has no table."""
    from rich.console import Group  # noqa: PLC0415 (for the terminal only)
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
