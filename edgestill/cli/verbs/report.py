"""``edgestill report``: results as one page of tables and drawings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgestill.dataset import IMAGE_SUFFIXES
from edgestill.files import read_json, refuse_overwrite

SUMMARY = "Turn results (bench, eval, verify, distill, ...) into one HTML page"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "results",
        nargs="+",
        type=Path,
        metavar="RESULT.json",
        help="results in any mix; also PNG or JPEG files",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.html", help="the page")
    parser.add_argument("--title", default="edgestill report", help="what stands on top")
    parser.add_argument("--force", action="store_true", help="replace FILE.html if it exists")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Read the results and write the page."""
    from benchmarks.page import Picture, write_report  # noqa: PLC0415
    from benchmarks.report import build_sections, headline_cards  # noqa: PLC0415

    refuse_overwrite(args.out, force=args.force)
    files = [path for path in args.results if path.suffix.lower() not in IMAGE_SUFFIXES]
    pictures = [Picture.read(path) for path in args.results if path not in files]
    results = [(str(path), read_json(path, hint="give JSON files that edgestill wrote")) for path in files]
    sections = build_sections(results, pictures)
    cards = headline_cards([result for _, result in results])
    write_report(sections, args.out, title=args.title, cards=cards, force=args.force)
    return {"kind": "report", "out": str(args.out), "sections": [section.title for section in sections]}
