"""``edgestill data anchors``: check anchors against the boxes of a data set, and propose others."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgestill.cli.options import tiles
from edgestill.cli.options.sizes import input_hw

ANCHOR_T = 4.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "data", nargs="+", type=Path, metavar="DATA.yaml", help="data sets whose train splits are used"
    )
    parser.add_argument(
        "--imgsz",
        default="384x640",
        metavar="HxW",
        help="height and width of the model input (default 384x640)",
    )
    parser.add_argument(
        "--anchor-t",
        type=float,
        default=ANCHOR_T,
        metavar="T",
        help=f"largest ratio of box side to anchor side of a match (default {ANCHOR_T:g})",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of k-means and of the evolution that refines it (default 0)",
    )
    tiles.add_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Score the anchors of COCO on the data, and anchors that are fitted to the data."""
    tiling, size = tiles.tiling(args), input_hw(args.imgsz)
    from distill.data.auto_anchor import box_sides, check_anchors, summary_line  # noqa: PLC0415 (imports OpenCV)
    from edgestill.dataset import Dataset  # noqa: PLC0415
    from edgestill.spec import COCO_ANCHORS_PX  # noqa: PLC0415

    datasets = [Dataset.open(path) for path in args.data]
    sides = box_sides(datasets, tiling.stretched(size), args.seed)
    report = check_anchors(sides, COCO_ANCHORS_PX, args.anchor_t, args.seed, always=True)
    setting = [[list(pair) for pair in level] for level in report.proposed_px or ()]
    return {
        "data": [str(path) for path in args.data],
        "input_hw": list(size),
        "tile": str(tiling),
        "verdict": summary_line(report),
        **asdict(report),
        "setting": f"student.anchors_px={setting}",
    }


def show(result: dict[str, Any]) -> Any:
    """A table of the given and the proposed anchors, the verdict, and the setting for a recipe."""
    from rich.console import Group  # noqa: PLC0415 (for the terminal only)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    height, width = result["input_hw"]
    title = (
        f"{result['boxes']} boxes, {result['tiny']} smaller than 3 px, "
        f"at {width} x {height}, tiles {result['tile']}"
    )
    table = Table(
        "anchors", "best possible recall", "fitness", "anchors per box", "width x height, px", title=title
    )
    for which in ("given", "proposed"):
        fit, anchors = result[which], [pair for level in result[f"{which}_px"] for pair in level]
        numbers = (f"{fit['bpr']:.4f}", f"{fit['fitness']:.3f}", f"{fit['per_box']:.2f}")
        table.add_row(which, *numbers, ", ".join(f"{w:g} x {h:g}" for w, h in anchors))
    lines = f"{result['verdict']}\nto train with the proposed anchors: --set '{result['setting']}'"
    return Group(table, Text(lines))
