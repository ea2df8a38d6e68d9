"""The options of ``edgestill bench --suite``: a matrix of measurements in one folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgestill.cli.options.benchmark import scoring_data
from edgestill.cli.options.benchmark.given_flags import flag, refuse_others
from edgestill.errors import UsageError
from edgestill.files import write_json

RESULT = "suite.json"
#: Arguments of ``bench`` that apply to a suite. The others are in its file.
SHARED = ("suite", "max_ms", "min_map", "models", "data", "split", "source", "out", "force")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--suite`` and what belongs to it."""
    group = parser.add_argument_group("suite")
    add = group.add_argument
    add(
        "--suite",
        metavar="SUITE",
        help="export and measure a matrix of models, precisions, backends, threads, sizes and scenarios: "
        "`x86`, `x86-sizes` or a TOML file. MODEL is a checkpoint or NAME=CHECKPOINT, instead of the suite's "
        f"models; --out is a folder, the result is {RESULT} in it. An interrupted suite goes on",
    )
    add("--max-ms", type=float, metavar="MS", help="find the most accurate cell within this median time")
    add(
        "--min-map",
        type=float,
        metavar="MAP",
        help="find the fastest cell of at least this mAP50-95, 0 to 1; with --max-ms the most accurate one",
    )


def is_chosen(args: argparse.Namespace, parser: argparse.ArgumentParser) -> bool:
    """Whether the command is for a suite; UsageError for flags that do not belong together."""
    scoring_data.refuse_idle(args)
    if args.suite is not None:
        hint = "the file of the suite has the values of its axes; see docs/how-to/measure.md"
        refuse_others(args, parser, "--suite", SHARED, hint)
        return True
    for name in ("max_ms", "min_map"):
        if getattr(args, name) is not None:
            raise UsageError(f"{flag(name)} belongs to --suite", hint="--suite x86")
    return False


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the steps of a suite that are not done, and write its result."""
    from benchmarks.suite.definition import load_suite  # noqa: PLC0415 (for suites only)
    from benchmarks.suite.rows import Limits, summarise  # noqa: PLC0415
    from benchmarks.suite.run import Inputs, SuiteFolder  # noqa: PLC0415
    from benchmarks.suite.tool import run_edgestill  # noqa: PLC0415

    limits = Limits(max_ms=args.max_ms, min_map=args.min_map)
    if limits.min_map is not None and not 0 <= limits.min_map <= 1:
        raise UsageError(f"--min-map {limits.min_map:g} is no mAP", hint="a fraction from 0 to 1, e.g. 0.4")
    if limits.min_map is not None and args.data is None:
        raise UsageError("--min-map needs labelled images", hint="--data DATA.yaml")
    suite = load_suite(args.suite, named_models(args.models))
    out = args.out or Path(f"suite-{Path(args.suite).stem}")
    split = args.split or "val"
    inputs = Inputs(data=args.data, split=split, source=args.source or _images(args.data, split))
    folder = SuiteFolder(out, suite, inputs, run_edgestill, force=args.force)
    folder.run()
    result = {**summarise(folder, limits), "name": Path(args.suite).stem, "out": str(out / RESULT)}
    write_json(out / RESULT, result)
    return result


def named_models(words: Sequence[str]) -> dict[str, str]:
    """Checkpoints by name, from ``CHECKPOINT`` or ``NAME=CHECKPOINT``.

    Raises:
        UsageError: Two have one name.
    """
    found: dict[str, str] = {}
    for word in words:
        name, separator, path = word.partition("=")
        name, path = (name, path) if separator else (Path(word).stem, word)
        if name in found:
            raise UsageError(f"two models are called {name!r}", hint="NAME=CHECKPOINT names a model")
        found[name] = path
    return found


def show(result: dict[str, Any]) -> Any:
    """A table of the cells, then the fronts, the best cell and what failed."""
    from rich.console import Group  # noqa: PLC0415 (for the terminal only)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    axes = ("model", "size", "precision", "backend", "threads", "scenario")
    table = Table(
        *axes, "p50 ms", "p90 ms", "time / FP32", "frames/s", "mAP50-95", "MiB", title=result["name"]
    )
    for row in result["cells"]:
        figures = [row[k] for k in ("p50_ms", "p90_ms", "time_over_fp32", "throughput_fps")]
        table.add_row(
            *(str(row[axis]) for axis in axes),
            *map(_number, [*figures, row["map50_95"], row["file_mib"]]),
        )
    fronts = [(cost, keys) for cost, keys in result["fronts"].items() if keys]
    lines = [f"not beaten in {cost} and mAP50-95: {', '.join(keys)}" for cost, keys in fronts]
    if any(value is not None for value in result["limits"].values()):
        lines.append(f"best within the limits: {result['best'] or 'none'}")
    lines += [f"failed: {entry['key']}: {entry['reason']}" for entry in result["failed"]]
    return Group(table, Text("\n".join(lines)))


def _images(data: Path | None, split: str) -> str | None:
    """The folder of the images of a split; None without data."""
    if data is None:
        return None
    from edgestill.dataset import Dataset  # noqa: PLC0415 (imports OpenCV)

    images = Dataset.open(data).images(split)
    return str(images[0].parent) if images else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value >= 100 else f"{value:.3g}"
