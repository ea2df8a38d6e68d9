"""``edgestill distill``: train a student by a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

SUMMARY = "Train a student, alone or from a teacher, by a recipe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of the verb."""
    parser.add_argument("recipe", metavar="RECIPE", help="a shipped recipe's name, or a TOML file")
    parser.add_argument(
        "--data", action="append", default=[], metavar="DATA.yaml", help="what to train on; may be repeated"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="change a key of the recipe, e.g. epochs=10, methods.cwd.weight=2; may be repeated",
    )
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/RECIPE)")
    parser.add_argument("--resume", action="store_true", help="go on where the run in the folder stopped")
    parser.add_argument("--force", action="store_true", help="replace the run in the folder")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe and train nothing")


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Train; the result is the content of ``result.json``. Of several processes the first alone has one."""
    from distill.recipe import load_recipe  # noqa: PLC0415 (torch)
    from edgestill.errors import UsageError  # noqa: PLC0415

    recipe = load_recipe(args.recipe, args.settings, args.data)
    if not recipe.data:
        raise UsageError(
            f"recipe {recipe.name} names no data",
            hint="--data DATA.yaml; `edgestill data synth --out scenes --images 500` makes some",
        )
    out = args.out or Path("runs") / recipe.name
    if args.dry_run:
        return {"out": str(out), "recipe": recipe.to_json()}
    from distill.train import train  # noqa: PLC0415
    from distill.training.distributed import is_first  # noqa: PLC0415 (torch)
    from edgestill.cli.options.qat import quantise_for_qat  # noqa: PLC0415

    result = train(recipe, out, resume=args.resume, force=args.force, place=quantise_for_qat)
    return result if is_first() else None


def show(result: dict[str, Any]) -> Table | str:
    """A table of the scores by class; of a dry run, the recipe."""
    from rich.table import Table  # noqa: PLC0415

    if "per_class" not in result:
        from edgestill.files import to_json_text  # noqa: PLC0415

        return to_json_text(result)
    title = f"{result['best']}: epoch {result['best_epoch']} of {result['epochs']}"
    table = Table(title=title, caption=f"{result['seconds_per_step']:.2f} s/step, {result['arithmetic']}")
    for column in ("class", "labels", "AP50", "AP50-95"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for name, entry in result["per_class"].items():
        table.add_row(name, str(entry["labels"]), _points(entry["ap50"]), _points(entry["ap50_95"]))
    table.add_section()
    table.add_row("mean", "", _points(result["map50"]), _points(result["map50_95"]))
    return table


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
