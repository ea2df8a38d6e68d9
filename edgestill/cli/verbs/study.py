"""``edgestill study``: train a grid of recipes, and test the differences for significance."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.cli.options import settings
from edgestill.cli.table_text import points

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from distill.study.process import CellRunner

SUMMARY = "Train a grid of arms, teachers, students and seeds; tabulate scores, test their differences"
EXAMPLE = "edgestill study street --data scenes/data.yaml --set seeds=[0,1,2] --dry-run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of the verb."""
    settings.add_arguments(parser, "study", "studies", "seeds, arms, teachers.X, or a key of all recipes")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the study (default: runs/STUDY)")
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="local: processes of this machine (default); ray: a Ray cluster",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=0,
        metavar="N",
        help="trainings at the same time, with --engine local (default: what memory and cores allow)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="ARM",
        help="train only these arms; an arm is a named set of recipe settings",
    )
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="ARM",
        help="compare every arm with this one as well; may be repeated",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="train again the cells whose recipe changed and those that failed; keep the others",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the cells without training")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train the cells that are not finished, and write the tables. A repeated command continues the study."""
    from distill.study.study_file import load_study, select  # noqa: PLC0415 (imports torch)
    from edgestill.errors import UsageError  # noqa: PLC0415

    if args.jobs < 0 or (args.jobs and args.engine == "ray"):
        raise UsageError(
            f"--jobs {args.jobs} --engine {args.engine}",
            hint="--jobs takes 1 or more, and is for --engine local",
        )
    name, study, cells = load_study(args.study, args.settings, args.data, args.against)
    out = args.out or Path("runs") / name
    chosen = select(cells, args.only)
    if args.dry_run:
        return {"study": name, "out": str(out), "cells": [_plan(cell, out) for cell in chosen]}
    from distill.study.report import report  # noqa: PLC0415
    from distill.study.run import run_cells  # noqa: PLC0415

    failed = run_cells(study, chosen, out, _engine(args), force=args.force)
    return report(name, study, cells, out, failed)


def verdict(result: dict[str, Any]) -> None:
    """Raise the worst error of the cells that failed, after the tables were printed."""
    if result.get("failed"):
        from distill.study.run import combined_error  # noqa: PLC0415

        raise combined_error(result["failed"], result["out"])


def show(result: dict[str, Any]) -> Group | str:
    """The scores by arm and the tests; for a dry run, the cells."""
    from rich.console import Group  # noqa: PLC0415

    from edgestill.files import to_json_text  # noqa: PLC0415

    if "rows" not in result:
        return to_json_text(result)
    title = f"{result['study']} on {result['split']}: {result['finished']} of {result['cells']} cells"
    return Group(
        _table(
            title, ("student", "teacher", "arm", "seeds", "mAP50", "mAP50-95"), map(_score, result["rows"])
        ),
        _table("Differences", _TEST_COLUMNS, map(_difference, result["tests"])),
        "\n".join(_main_files(result)),
    )


def _main_files(result: dict[str, Any]) -> list[str]:
    """The study's own files, and where those of its cells are."""
    cells = str(Path(result["out"]) / "cells")
    own = [name for name in result["files"] if not name.startswith(cells)]
    return [*own, f"{cells}: {len(result['files']) - len(own)} files of the cells"]


_TEST_COLUMNS = (
    "student",
    "teacher",
    "arm",
    "against",
    "metric",
    "difference",
    "seeds",
    "p",
    "power",
    "images",
    "p",
)


def _score(row: dict[str, Any]) -> list[str]:
    scores = [f"{points(row[f'{k} mean'])} ± {points(row[f'{k} std'])}" for k in ("map50", "map50_95")]
    return [row["student"], row["teacher"], row["arm"], str(row["seeds"]), *scores]


def _difference(test: dict[str, Any]) -> list[str]:
    names = [test[key] for key in ("student", "teacher", "arm", "against", "metric")]
    shown = []
    for kind in ("seeds", "images"):
        shown.append(f"{points(test[f'{kind} low'])} to {points(test[f'{kind} high'])}")
        p = test[f"{kind} p holm"]
        shown.append("-" if p is None else f"{p:.3f}")
        if kind == "seeds":
            shown.append("-" if test["power"] is None else f"{100 * test['power']:.0f} %")
    return [*names, points(test["seeds mean"]), *shown]


def _table(title: str, columns: tuple[str, ...], lines: Iterable[list[str]]) -> Table:
    from rich.table import Table  # noqa: PLC0415

    table = Table(
        title=title, caption="p: corrected for multiple comparisons (Holm)" if "p" in columns else None
    )
    for column in columns:
        names = {"student", "teacher", "arm", "against", "metric"}
        table.add_column(column, justify="left" if column in names else "right")
    for line in lines:
        table.add_row(*line)
    return table


def _engine(args: argparse.Namespace) -> CellRunner:
    from functools import partial  # noqa: PLC0415

    if args.engine == "ray":
        from distill.study.cluster import run_ray  # noqa: PLC0415

        return run_ray
    from distill.study.local import run_local  # noqa: PLC0415

    return partial(run_local, jobs=args.jobs)


def _plan(cell: Any, out: Path) -> dict[str, Any]:
    return {
        "cell": cell.label,
        "folder": str(out / cell.folder),
        "begun": (out / cell.folder).is_dir(),
        "recipe": cell.recipe.to_json(),
    }
