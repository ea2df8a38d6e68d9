"""``edgestill bench``: the latency of models on this machine, with the conditions of the measurement."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgestill.cli.benchmark_tables import (
    file_table,
    latency_table,
    scenario_lines,
    stage_table,
    warning_lines,
)
from edgestill.cli.command_line import command_line
from edgestill.cli.options import backend, sizes, tiles
from edgestill.cli.options.benchmark import (
    arrival,
    baseline,
    instructions,
    peers,
    repetition,
    scoring_data,
    stages,
    suite,
)
from edgestill.cli.options.model import model_file
from edgestill.cli.peers import peer_table
from edgestill.errors import UsageError
from edgestill.files import refuse_overwrite, write_json

SUMMARY = "Measure latency, throughput, energy, memory and start-up time of models on this machine"
EXAMPLE = "edgestill bench a.onnx b.onnx --interleave --source street.mp4 --out bench.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help=backend.MODEL)
    add(
        "--source",
        metavar="PATH",
        help="image, folder or video to run on (default: a drawn test pattern); of a folder, images "
        "that are spread over it and over their sizes",
    )
    arrival.add_arguments(parser)
    stages.add_argument(parser)
    add(
        "--warmup-s",
        type=float,
        default=1.0,
        metavar="S",
        help="untimed seconds per model before the measurement (default 1)",
    )
    backend.add_arguments(parser)
    sizes.add_argument(parser)
    tiles.add_arguments(parser, several=True)
    add(
        "--interleave",
        action="store_true",
        help="alternate between the models, and compare each with the first",
    )
    repetition.add_arguments(parser)
    instructions.add_argument(parser)
    baseline.add_argument(parser)
    add("--out", type=Path, metavar="FILE", help="also write the result to FILE")
    add("--force", action="store_true", help="overwrite FILE if it exists")
    scoring_data.add_arguments(parser)
    suite.add_arguments(parser)
    peers.add_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, and write the result to ``--out``."""
    if peers.is_chosen(args, _parser()):
        return peers.run(args, _parser())
    if suite.is_chosen(args, _parser()):
        return suite.run(args)
    if not args.models:
        raise UsageError("there is no MODEL", hint="edgestill bench student --source street.jpg")
    from benchmarks.measure.collect import Settings  # noqa: PLC0415 (imports OpenCV)

    (fps, streams), (duration_s, min_samples) = arrival.cameras(args), arrival.amount(args)
    settings = Settings(
        source=args.source,
        duration_s=duration_s,
        min_samples=min_samples,
        warmup_s=args.warmup_s,
        backend=args.backend,
        device=args.device,
        threads=args.threads,
        trust_engine=args.trust_engine,
        input_hw=sizes.chosen(args),
        tilings=tiles.tilings(args, args.tile or ["1x1"]),
        fps=fps,
        streams=streams,
        after_boxes=stages.after_boxes(args),
        **repetition.settings(args),
    )
    earlier = baseline.read(args)
    if args.out:
        refuse_overwrite(args.out, force=args.force)
    measure = arrival.bench_of(args)
    result = measure([model_file(model) for model in args.models], settings, names=args.models)
    result["command"] = command_line(_parser(), args, leave_out=("out", "force", "baseline"))
    instructions.add_counts(result, args)
    baseline.add_comparison(result, earlier, args)
    if args.out:
        result["out"] = str(args.out)
        write_json(args.out, result, force=args.force)
    return result


def show(result: dict[str, Any]) -> Any:
    """Tables of latency, stages and files, then energy, ratios and warnings."""
    if result["kind"] == "suite":
        return suite.show(result)
    if result["kind"] == "peers":
        return peer_table.table(result)
    from rich.console import Group  # noqa: PLC0415 (for the terminal only)
    from rich.text import Text  # noqa: PLC0415

    from benchmarks.monitoring.summary import energy_in_words  # noqa: PLC0415
    from benchmarks.monitoring.summary import in_words as monitors_in_words  # noqa: PLC0415
    from benchmarks.statistics.compare import in_words  # noqa: PLC0415

    models = result["models"]
    lines = [*scenario_lines(models), *energy_in_words(models)]
    lines.append(f"during the run: {monitors_in_words(models[0]['environment']['monitors'])}")
    lines += [in_words(c) for c in result["ratios"]]
    lines += instructions.in_lines(result)
    lines += baseline.in_lines(result)
    lines += warning_lines(models)
    return Group(
        latency_table(models, result["measures"]),
        stage_table(models),
        file_table(models),
        Text("\n".join(lines)),
    )


def verdict(result: dict[str, Any]) -> None:
    """Raise VerificationError if a model is slower than in ``--baseline``."""
    baseline.refuse_regressions(result)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgestill bench")
    add_arguments(parser)
    return parser
