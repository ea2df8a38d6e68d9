"""How well a recipe's detector does on a source of images that it never saw, for each source in turn.

python -m edgestill.cli.leave_one_out traffic-lights --data street/data.yaml --source cinta --source driveai

For each ``--source`` a detector is trained without its images and then run on all of them, at the thresholds
of ``edgestill run``. The source of an image is its file name before the first ``_``. Trainings that are
finished in the folder are not repeated, and one that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

from edgestill.cli.found_table import found_table
from edgestill.cli.options import settings
from edgestill.cli.options.model import model_file
from edgestill.dataset import Dataset
from edgestill.dataset_files.image_source import SourceFilter
from edgestill.errors import ToolchainError
from edgestill.files import write_json
from runtime.detector import open_detector
from runtime.metrics.found import Found, found_by_source

SPLITS = ("train", "val", "test")
RESULT = "leave-one-out.json"


def without(sources: Sequence[str], args: argparse.Namespace) -> Found:
    """Train without some sources and count on them."""
    from distill.recipe_toml import load_recipe  # noqa: PLC0415 (imports torch)
    from distill.train import train  # noqa: PLC0415

    recipe = load_recipe(args.recipe, settings.with_init(args), [str(path) for path in args.data])
    out = args.out / f"without-{'-'.join(sources)}"
    result = train(replace(recipe, leave_out=tuple(sources)), out, resume=True, keep_state=False)
    with_these = SourceFilter(only=frozenset(sources))
    datasets = [Dataset.open(path).of_sources(with_these) for path in args.data]
    with closing(open_detector(model_file(str(out / Path(result["best"]).name)))) as detector:
        counts = found_by_source(detector, datasets, SPLITS)
    return sum(counts.values(), start=Found())


def main(words: Sequence[str] | None = None) -> int:
    """Train, count, print the table; exit codes are those of ``edgestill``."""
    parser = argparse.ArgumentParser(
        prog="python -m edgestill.cli.leave_one_out",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a shipped recipe's name, or a TOML file")
    parser.add_argument("--data", action="append", required=True, type=Path, metavar="DATA.yaml")
    parser.add_argument(
        "--source", action="append", required=True, metavar="A[,B]", help="left out together; may be repeated"
    )
    parser.add_argument("--init", metavar="CKPT", help="initial weights, which have not seen the source")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, default=Path("runs/leave-one-out"), metavar="DIR")
    args = parser.parse_args(words)
    counts: dict[str, Found] = {}
    try:
        for text in args.source:
            counts[text] = without(text.split(","), args)
            write_json(args.out / RESULT, {name: asdict(found) for name, found in counts.items()})
    except ToolchainError as error:
        print(f"leave_one_out: {error}", file=sys.stderr)
        return error.exit_code
    print(found_table(counts, "without"), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
