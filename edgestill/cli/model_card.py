"""The figures of a model card, as Markdown: every model on every split, by class, size and source.

The last table counts what ``edgestill run`` finds at its default thresholds.

python -m edgestill.cli.model_card student teacher --data street/data.yaml --split val --split test
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from edgestill.cli.found_table import found_table
from edgestill.cli.options import backend
from edgestill.cli.options.model import model_file
from edgestill.cli.table_text import points
from edgestill.cli.verbs import eval as eval_verb
from edgestill.dataset import Dataset
from edgestill.errors import ToolchainError
from runtime.detector import open_detector
from runtime.metrics.found import Found, found_by_source

Result = Mapping[str, Any]
#: The confusion that matters most: a red light that is detected as green.
STOP, GO = "red", "green"


def card(results: Sequence[Result]) -> str:
    """Markdown tables of results of ``edgestill eval`` on the same classes.

    Args:
        results: One per row, in this order.
    """
    tables = (
        _table("data | model", _classes(results[0]), ((_name(r), _class_cells(r)) for r in results)),
        _table("data | model", _sides(results[0]), ((_name(r), _side_cells(r)) for r in results)),
        _table("data | model", _sources(results), ((_name(r), _source_cells(r, results)) for r in results)),
        _table("data | model", _CONFUSIONS, ((_name(r), _confusion_cells(r)) for r in results)),
    )
    return "\n\n".join(tables) + "\n"


def _table(corner: str, columns: Sequence[str], rows: Iterator[tuple[str, Sequence[str]]]) -> str:
    head = f"| {corner} | {' | '.join(columns)} |"
    rule = "|---|---|" + "---:|" * len(columns)
    return "\n".join([head, rule, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows)])


def _name(result: Result) -> str:
    return f"{result['split']}, {result['images']} images | {result['model']}"


def _classes(result: Result) -> list[str]:
    return ["mAP50-95", "mAP50", *(f"AP50 {name}" for name in result["per_class"])]


def _class_cells(result: Result) -> list[str]:
    means = [points(result["map50_95"]), points(result["map50"])]
    return means + [_counted(score) for score in result["per_class"].values()]


def _sides(result: Result) -> list[str]:
    return [f"shorter side {name} px" for name in result["by_short_side_px"]]


def _side_cells(result: Result) -> list[str]:
    return [_counted(score) for score in result["by_short_side_px"].values()]


def _sources(results: Sequence[Result]) -> list[str]:
    names = dict.fromkeys(name for result in results for name in result["per_source"])
    return [f"{name} {light}" for name in names for light in (STOP, GO)]


def _source_cells(result: Result, results: Sequence[Result]) -> list[str]:
    cells = []
    for column in _sources(results):
        name, _, light = column.rpartition(" ")
        source = result["per_source"].get(name)
        cells.append(_counted(source["per_class"][light]) if source else "-")
    return cells


_CONFUSIONS = (
    f"{STOP} detected as {STOP}",
    f"{STOP} detected as {GO}",
    f"{GO} detected as {GO}",
    f"{GO} detected as {STOP}",
    "false positives per image",
)


def _confusion_cells(result: Result) -> list[str]:
    table = result["taken_for"]
    cells = [
        _share(table[true][seen], sum(table[true].values()))
        for true, seen in ((STOP, STOP), (STOP, GO), (GO, GO), (GO, STOP))
    ]
    return [*cells, f"{sum(table['nothing'].values()) / result['images']:.2f}"]


def _counted(score: Mapping[str, Any]) -> str:
    """AP50 and, in brackets, the number of labels."""
    return f"{points(score['ap50'])} ({score['labels']})"


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.1f} %)" if whole else "-"


def _found(models: Sequence[str], data: Path, splits: Sequence[str]) -> dict[str, Found]:
    """What each model finds, by split and source."""
    dataset, counts = Dataset.open(data), {}
    for split in splits:
        for model in models:
            with closing(open_detector(model_file(model))) as detector:
                found = found_by_source(detector, [dataset], [split])
            found["all"] = sum(found.values(), start=Found())
            counts.update({f"{split}, {model}, {source or 'no source'}": n for source, n in found.items()})
    return counts


def main(words: Sequence[str] | None = None) -> int:
    """Evaluate the models and print the tables; exit codes are those of ``edgestill``."""
    parser = argparse.ArgumentParser(prog="python -m edgestill.cli.model_card", description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL", help=backend.MODEL)
    parser.add_argument("--data", required=True, type=Path, metavar="DATA.yaml", help="the data set")
    parser.add_argument("--split", action="append", required=True, help="val or test; may be repeated")
    args = parser.parse_args(words)
    verb = argparse.ArgumentParser()
    eval_verb.add_arguments(verb)
    try:
        results = [
            eval_verb.run(verb.parse_args([model, "--data", str(args.data), "--split", split]))
            for split in args.split
            for model in args.models
        ]
        counts = _found(args.models, args.data, args.split)
    except ToolchainError as error:
        print(f"model_card: {error}", file=sys.stderr)
        return error.exit_code
    print(card(results))
    print(found_table(counts, "data, model, source"), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
