"""``edgestill report``: one HTML page of tables and plots from JSON results."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgestill.dataset import IMAGE_SUFFIXES
from edgestill.files import read_json, refuse_overwrite

SUMMARY = "Build one self-contained HTML page from results (bench, eval, verify, distill, ...)"
EXAMPLE = "edgestill report bench.json eval.json --out report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "results",
        nargs="+",
        type=Path,
        metavar="RESULT.json",
        help="JSON results of any verbs; PNG and JPEG files become figures",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.html", help="the page to write")
    parser.add_argument("--title", default="edgestill report", help="heading of the page")
    parser.add_argument("--force", action="store_true", help="overwrite FILE.html if it exists")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Read the results and write the page."""
    from benchmarks.report.page import Picture, write_report  # noqa: PLC0415
    from benchmarks.report.result_kind import HINT  # noqa: PLC0415
    from benchmarks.report.sections import build_page  # noqa: PLC0415

    refuse_overwrite(args.out, force=args.force)
    files = [path for path in args.results if path.suffix.lower() not in IMAGE_SUFFIXES]
    pictures = [Picture.read(path) for path in args.results if path not in files]
    results = [(str(path), read_json(path, hint=HINT)) for path in files]
    sections, cards = build_page(results, pictures)
    write_report(sections, args.out, title=args.title, cards=cards, force=args.force)
    return {"kind": "report", "out": str(args.out), "sections": [section.title for section in sections]}
