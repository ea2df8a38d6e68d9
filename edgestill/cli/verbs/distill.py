"""``edgestill distill``: train a student network from a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.cli.options import settings
from edgestill.cli.table_text import points

if TYPE_CHECKING:
    from rich.table import Table

SUMMARY = "Train a student network, with or without a teacher, from a recipe"
EXAMPLE = "edgestill distill traffic-lights --data scenes/data.yaml --set epochs=20 --out runs/lights"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of the verb."""
    settings.add_arguments(parser, "recipe", "recipes", "e.g. epochs=10, methods.cwd.weight=2")
    parser.add_argument(
        "--init",
        metavar="CKPT",
        help="initial weights of the student: student, a checkpoint folder, or a YOLOv5 .pt file",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default: runs/RECIPE)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in the folder; with more epochs by --set epochs=N",
    )
    parser.add_argument("--force", action="store_true", help="replace the run in the folder")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe without training")


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Train; the result is the content of ``result.json``, in the main process only."""
    from distill.training.process_settings import prepare_process  # noqa: PLC0415

    prepare_process()
    from distill.recipe_toml import load_recipe  # noqa: PLC0415 (imports torch)
    from edgestill.errors import UsageError  # noqa: PLC0415

    recipe = load_recipe(args.recipe, settings.with_init(args), args.data)
    if not recipe.data:
        raise UsageError(
            f"recipe {recipe.name} has no data set",
            hint="add --data DATA.yaml; `edgestill data synth --out scenes --images 500` renders a data set",
        )
    out = args.out or Path("runs") / recipe.name
    if args.dry_run:
        return {"out": str(out), "recipe": recipe.to_json()}
    from distill.train import train  # noqa: PLC0415
    from distill.training.distributed import is_main_process  # noqa: PLC0415 (imports torch)
    from edgestill.cli.options.qat import quantise_for_qat  # noqa: PLC0415

    result = train(recipe, out, resume=args.resume, force=args.force, calibrate=quantise_for_qat)
    return result if is_main_process() else None


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
        table.add_row(name, str(entry["labels"]), points(entry["ap50"]), points(entry["ap50_95"]))
    table.add_section()
    table.add_row("mean", "", points(result["map50"]), points(result["map50_95"]))
    return table
