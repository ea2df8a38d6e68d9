"""``edgestill report``: one page, Markdown file or table of measures from JSON results."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgestill.dataset import IMAGE_SUFFIXES
from edgestill.errors import UsageError
from edgestill.files import read_json, refuse_overwrite

SUMMARY = (
    "Build a self-contained HTML page, or Markdown or CSV, from results (bench, eval, verify, distill, ...)"
)
EXAMPLE = "edgestill report bench.json eval.json --out report.html"
FORMATS = (".html", ".htm", ".md", ".csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "results",
        nargs="+",
        type=Path,
        metavar="RESULT.json",
        help="JSON results of any verbs; PNG and JPEG files become figures",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="FILE",
        help="the file to write: .html, a page with plots; .md, its tables as Markdown; .csv, a line for "
        "each model and measure",
    )
    parser.add_argument("--title", default="edgestill report", help="heading of the page")
    parser.add_argument("--force", action="store_true", help="overwrite FILE if it exists")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Read the results and write the file."""
    from benchmarks.report.blocks import Picture  # noqa: PLC0415
    from benchmarks.report.markdown import write_markdown  # noqa: PLC0415
    from benchmarks.report.measures_csv import write_csv  # noqa: PLC0415
    from benchmarks.report.page import write_report  # noqa: PLC0415
    from benchmarks.report.result_kind import HINT  # noqa: PLC0415
    from benchmarks.report.sections import build_page  # noqa: PLC0415

    suffix = args.out.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"--out {args.out} has no known format", hint=f"name a file in {', '.join(FORMATS)}")
    refuse_overwrite(args.out, force=args.force)
    files = [path for path in args.results if path.suffix.lower() not in IMAGE_SUFFIXES]
    pictures = [Picture.read(path) for path in args.results if path not in files]
    results = [(str(path), read_json(path, hint=HINT)) for path in files]
    written: dict[str, Any] = {"kind": "report", "out": str(args.out)}
    if suffix == ".csv":
        return {**written, "lines": write_csv(results, args.out, force=args.force)}
    sections, cards = build_page(results, pictures)
    write = write_markdown if suffix == ".md" else write_report
    write(sections, args.out, title=args.title, cards=cards, force=args.force)
    return {**written, "sections": [section.title for section in sections]}
