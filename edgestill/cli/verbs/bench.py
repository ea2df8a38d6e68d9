"""``edgestill bench``: the latency of models on this machine, with the conditions of the measurement."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgestill.cli.command_line import command_line
from edgestill.cli.options import backend, sizes, tiles
from edgestill.cli.options.benchmark import peers, scoring_data, suite
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
    add(
        "--scenario",
        default="single",
        choices=["single", "offline"],
        help="single: latency of one frame at a time (default); offline: throughput of several at a time",
    )
    add(
        "--duration-s",
        type=float,
        default=10.0,
        metavar="S",
        help="minimum time to measure each model (default 10), and again for its energy where there is a "
        "power sensor",
    )
    add(
        "--min-samples",
        type=int,
        default=50,
        metavar="N",
        help="minimum number of timed frames per model (default 50; several models get at least 32)",
    )
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
    add("--out", type=Path, metavar="FILE", help="also write the result to FILE")
    add("--force", action="store_true", help="overwrite FILE if it exists")
    scoring_data.add_arguments(parser)
    suite.add_arguments(parser)
    peers.add_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, and write the result to ``--out``."""
    peers.refuse_conflicts(args, _parser())
    if suite.is_chosen(args):
        return suite.run(args)
    if args.out:
        refuse_overwrite(args.out, force=args.force)
    result = peers.run(args) if args.peers is not None else _measure(args)
    result["command"] = command_line(_parser(), args, leave_out=("out", "force"))
    if args.out:
        result["out"] = str(args.out)
        write_json(args.out, result, force=args.force)
    return result


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    """The result of the scenario."""
    if not args.models:
        raise UsageError("there is no MODEL", hint="edgestill bench student --source street.jpg")
    from benchmarks.measure.collect import Settings  # noqa: PLC0415 (imports OpenCV)
    from benchmarks.scenarios.offline import bench_offline  # noqa: PLC0415
    from benchmarks.scenarios.single import bench  # noqa: PLC0415

    settings = Settings(
        source=args.source,
        duration_s=args.duration_s,
        min_samples=args.min_samples,
        warmup_s=args.warmup_s,
        backend=args.backend,
        device=args.device,
        threads=args.threads,
        trust_engine=args.trust_engine,
        input_hw=sizes.chosen(args),
        interleave=args.interleave,
        tilings=tiles.tilings(args, args.tile or ["1x1"]),
    )
    measure = bench_offline if args.scenario == "offline" else bench
    return measure([model_file(model) for model in args.models], settings, names=args.models)


def show(result: dict[str, Any]) -> Any:
    """A table of the models, then energy, ratios and the doubts about the measurement."""
    if result["kind"] == "suite":
        return suite.show(result)
    if result["kind"] == "peers":
        return peer_table.table(result)
    from rich.console import Group  # noqa: PLC0415 (for the terminal only)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from benchmarks.monitoring.summary import energy_in_words  # noqa: PLC0415
    from benchmarks.monitoring.summary import in_words as monitors_in_words  # noqa: PLC0415
    from benchmarks.statistics.compare import in_words  # noqa: PLC0415

    columns = (
        "model",
        "backend",
        "layers by dtype",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "frames/s",
        "inference ms",
        "GPU ms",
    )
    table = Table(*columns, "cold start ms", "memory MiB", "samples", title=result["measures"])
    for m in result["models"]:
        proved = " ".join(f"{count} {dtype}" for dtype, count in m["precision_proved"].items())
        numbers = (m["p50_ms"], m["p90_ms"], m["p99_ms"], m["throughput_fps"], m["stages_ms"]["inference"])
        more = ((m["gpu_compute_ms"] or {}).get("p50"), m["cold_start_ms"], m["rss_mib"])
        table.add_row(
            m["name"],
            m["backend"],
            proved,
            *map(_number, numbers),
            *map(_number, more),
            str(m["samples"]),
        )
    lines = energy_in_words(result["models"])
    lines.append(f"during the run: {monitors_in_words(result['models'][0]['environment']['monitors'])}")
    lines += [in_words(c) for c in result["ratios"]]
    lines += [f"doubt ({m['name']}): {line}" for m in result["models"] for line in m["doubts"]]
    return Group(table, Text("\n".join(lines)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgestill bench")
    add_arguments(parser)
    return parser


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value >= 100 else f"{value:.2f}"
