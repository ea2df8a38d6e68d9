"""``--peers`` of ``edgestill bench``: other programs on the same model, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgestill.cli.command_line import command_line
from edgestill.cli.options.benchmark.given_flags import flag, refuse_others
from edgestill.dataset import Dataset
from edgestill.errors import UsageError
from edgestill.files import refuse_overwrite, write_json

#: Flags that only ``--peers`` knows.
OWN = ("images", "class_map", "rounds", "work", "stop_after_s")
#: Flags of ``bench`` that apply to ``--peers``, too. Others choose what is measured: here always the same.
SHARED = (*OWN, "peers", "models", "data", "split", "threads", "imgsz", "out", "force")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    group = parser.add_argument_group(
        "other programs",
        "benchmark_app, yolo predict, NNCF, ONNX Runtime's quantiser and, where it is on PATH, trtexec, in "
        "one interleaved run; `make peers` installs them",
    )
    add = group.add_argument
    add(
        "--peers",
        nargs="?",
        const=Path(".peers"),
        type=Path,
        metavar="DIR",
        help="compare MODEL, a checkpoint, with other programs; DIR has their environments (default .peers)",
    )
    add("--images", type=int, metavar="N", help="evaluate on N images, spread evenly (default: all)")
    add(
        "--class-map",
        action="append",
        metavar="A=B,C",
        help="score the model's class A against the labels B and C, as in `edgestill eval`",
    )
    add(
        "--rounds", type=int, metavar="N", help="rounds, one turn of each row (default 8); 0 measures no time"
    )
    add(
        "--work",
        type=Path,
        metavar="DIR",
        help="folder of files and finished turns; the same command continues (default runs/peers/MODEL)",
    )
    add(
        "--stop-after-s",
        type=float,
        metavar="S",
        help="begin no round that would probably end after S seconds",
    )


def is_chosen(args: argparse.Namespace, parser: argparse.ArgumentParser) -> bool:
    """Whether the command compares with other programs; UsageError for flags that do not belong together."""
    if args.peers is None:
        given = [name for name in OWN if getattr(args, name) is not None]
        if given:
            raise UsageError(f"{flag(given[0])} belongs to --peers", hint="add --peers, or leave it out")
        return False
    refuse_others(
        args,
        parser,
        "--peers",
        SHARED,
        hint="leave it out; `make peers` and docs/how-to/measure.md say what is measured",
    )
    if len(args.models) != 1:
        raise UsageError(
            f"--peers compares one model, these are {len(args.models)}",
            hint="edgestill bench MODEL --peers, once for each; the word behind --peers is a folder",
        )
    if args.data is None and (args.split or args.images or args.class_map):
        raise UsageError("--split, --images and --class-map are about --data", hint="add --data DATA.yaml")
    return True


def run(args: argparse.Namespace, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Measure, and write the result to ``--out``; the flags and the parser are those of the verb."""
    if args.out:
        refuse_overwrite(args.out, force=args.force)
    result = _measure(args)
    result["command"] = command_line(parser, args, leave_out=("out", "force"))
    if args.out:
        result["out"] = str(args.out)
        write_json(args.out, result, force=args.force)
    return result


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    """The table, from the parsed flags."""
    from benchmarks.peers.side_by_side import Settings, measure  # noqa: PLC0415 (imports OpenCV)
    from edgestill.cli.peers.peer_accuracy import PeerAccuracy  # noqa: PLC0415
    from runtime.metrics.evaluate import spread  # noqa: PLC0415

    dataset = None if args.data is None else Dataset.open(args.data)
    split = _split(args, dataset)
    images = () if dataset is None else tuple(spread(dataset.images(split), args.images))
    label = Path(args.models[0]).stem or args.models[0]
    chosen = {"rounds": args.rounds} if args.rounds is not None else {}
    settings = Settings(
        model=args.models[0],
        work=args.work or Path("runs", "peers", label),
        data=args.data,
        images=images,
        threads=args.threads,
        stop_after_s=args.stop_after_s,
        imgsz=args.imgsz,
        peers=args.peers,
        **chosen,
    )
    accuracy = None
    if dataset is not None:
        accuracy = PeerAccuracy(
            kept=settings.work / "accuracy.json",
            dataset=dataset,
            images=images,
            class_map=tuple(args.class_map or ()),
            threads=args.threads,
        )
    result = measure(settings, accuracy or (lambda _: {}))
    result["data"] = None if args.data is None else str(args.data)
    result["split"] = split
    result["class_map"] = args.class_map
    return result


def _split(args: argparse.Namespace, dataset: Dataset | None) -> str:
    """The split to evaluate on."""
    if args.split or dataset is None:
        return args.split or ""
    return "test" if dataset.is_there("test") else "val"
