"""``edgestill eval``: how good a model is on a labelled split."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.cli.options import sizes, tiles
from edgestill.dataset import Dataset
from edgestill.errors import UsageError

if TYPE_CHECKING:
    from runtime.detector import Detector

SUMMARY = "Score a model on a labelled split: mAP by class, size and source, and what is taken for what"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "model", metavar="MODEL", help="`student`, a checkpoint folder, .onnx, OpenVINO .xml, legacy .pt"
    )
    parser.add_argument("--data", required=True, type=Path, metavar="DATA.yaml", help="the labelled images")
    parser.add_argument("--split", default="val", help="train, val (default) or test")
    parser.add_argument("--backend", default="auto", help="ort, ov, or auto (by the file; default)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads; default: the library's choice")
    sizes.add_argument(parser)
    tiles.add_arguments(parser)
    parser.add_argument("--trust-engine", action="store_true", help="run an .engine that others built")
    parser.add_argument("--limit", type=int, metavar="N", help="use N images, spread over the split")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the model over the split and score it."""
    from runtime.metrics.evaluate import EVAL_CONF, EVAL_IOU, check_classes, evaluate  # noqa: PLC0415
    from runtime.tiling import TiledDetector  # noqa: PLC0415

    tiling = tiles.tiling(args)
    dataset = Dataset.open(args.data)
    dataset.images(args.split)  # a missing split is told before a model is loaded
    detector, file, backend = _open(args)
    check_classes(detector.spec.classes, dataset)
    accuracy = evaluate(
        TiledDetector(detector, tiling), dataset, args.split, label=f"eval {args.split}", limit=args.limit
    )
    return {
        "kind": "eval",
        "model": args.model,
        "file": str(file),
        "name": detector.spec.name,
        "input_hw": list(detector.spec.input_hw),
        "backend": backend,
        "data": str(args.data),
        "split": args.split,
        "setting": {
            "conf": EVAL_CONF,
            "iou": EVAL_IOU,
            "limit": args.limit,
            "tile": str(tiling),
            "tile_overlap": None if tiling.is_whole else tiling.overlap,
        },
        **asdict(accuracy),
    }


def show(result: dict[str, Any]) -> Any:
    """A table of classes, then sizes and sources."""
    from rich.console import Group  # noqa: PLC0415 (only a person needs it)
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from runtime.metrics.confusion import CONF, IOU  # noqa: PLC0415

    title = f"{result['model']} on {result['split']}: {result['images']} images, {result['labels']} labels"
    table = Table("", "labels", "AP50", "AP50-95", title=escape(title))
    table.add_row("all", str(result["labels"]), _points(result["map50"]), _points(result["map50_95"]))
    table.add_section()
    for group, unit in (("per_class", ""), ("by_size", ""), ("by_short_side_px", " px")):
        for name, row in result[group].items():
            table.add_row(
                escape(name + unit), str(row["labels"]), _points(row["ap50"]), _points(row["ap50_95"])
            )
        table.add_section()
    for name, row in result["per_source"].items():
        table.add_row(escape(name), str(row["labels"]), _points(row["map50"]), _points(row["map50_95"]))
    columns = (*result["taken_for"], "missed")
    found = Table("taken for", *columns, title=f"true boxes, scores of {CONF} and overlaps of {IOU} or more")
    for name, row in result["taken_for"].items():
        found.add_row(escape(name), *(str(row.get(column, "")) for column in columns))
    return Group(table, found, Text("\n".join(f"doubt: {line}" for line in result["doubts"])))


def _open(args: argparse.Namespace) -> tuple[Detector, Path, str]:
    """The detector at the evaluation setting, the file behind it, and what runs it."""
    from runtime.metrics.evaluate import EVAL_CONF, EVAL_IOU  # noqa: PLC0415

    setting: dict[str, Any] = {"conf": EVAL_CONF, "iou": EVAL_IOU, "multi_label": True}
    if Path(args.model).suffix == ".pt":
        return _legacy(args, setting), Path(args.model), "torch"
    from export.model_file import resolve  # noqa: PLC0415
    from runtime.detector import open_detector  # noqa: PLC0415

    file = resolve(args.model)
    options = {"backend": args.backend, "threads": args.threads, "trust_engine": args.trust_engine}
    detector = open_detector(file, **options, **setting, input_hw=sizes.chosen(args))
    return detector, file, detector.backend.name


def _legacy(args: argparse.Namespace, setting: dict[str, Any]) -> Detector:
    """An original YOLOv5 file, run by torch: what its exports are to be compared with."""
    if args.backend != "auto" or args.threads is not None or args.imgsz:
        raise UsageError(
            f"{args.model} is run by torch, which takes no --backend, no --threads and no --imgsz",
            hint=f"edgestill export {args.model} --to onnx makes a file for the backends",
        )
    from distill.checkpoints.native import load  # noqa: PLC0415 (brings torch)
    from distill.training.torch_detector import TorchDetector  # noqa: PLC0415

    model, spec, _ = load(Path(args.model))
    return TorchDetector(model, spec, **setting)


def _points(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.1f}"
