"""``edgestill eval``: the accuracy of a model on a labelled split."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.cli import safety
from edgestill.cli.options import backend, sizes, tiles
from edgestill.cli.options.model import model_file
from edgestill.cli.table_text import points
from edgestill.dataset import Dataset
from edgestill.errors import UsageError

if TYPE_CHECKING:
    from runtime.detector import Detector
    from runtime.metrics.class_map import ClassMap

SUMMARY = "Evaluate a model on a labelled split: mAP by class, size and source, and a confusion matrix"
SAFETY = "safety"  # the kind of a result of --safety
EXAMPLE = "edgestill eval student --data scenes/data.yaml --split test"
UNITS = "Tables show points of 100; JSON holds fractions from 0 to 1 (map50 0.23 is 23 points)."
NOTHING = "nothing"  # the row of ``taken_for`` with the detections that match no label


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = f"{SUMMARY}. {UNITS}"
    parser.add_argument("models", nargs="+", metavar="MODEL", help=backend.MODEL)
    parser.add_argument("--data", required=True, type=Path, metavar="DATA.yaml", help="the data set")
    parser.add_argument("--split", default="val", help="train, val (default) or test")
    backend.add_arguments(parser)
    sizes.add_argument(parser)
    tiles.add_arguments(parser)
    parser.add_argument(
        "--class-map",
        action="append",
        metavar="A=B,C",
        help="score the model's class A against the labels B and C, for a model with other classes than the "
        "data; * is any class that is not named; may be repeated, or be a TOML file with a table [classes]",
    )
    parser.add_argument(
        "--single-class", action="store_true", help="score all classes of model and data as one class"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="use N images, evenly spaced over the split")
    safety.add_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the model on the images of the split and compute the scores; with ``--safety``, several models."""
    if args.safety:
        return safety.run(args)
    safety.refuse_without(args)
    from runtime.metrics.evaluate import EVAL_CONF, EVAL_IOU, evaluate  # noqa: PLC0415
    from runtime.tiling import TiledDetector  # noqa: PLC0415

    tiling = tiles.tiling(args)
    dataset = Dataset.open(args.data)
    dataset.images(args.split)  # a missing split is reported before a model is loaded
    (model,) = args.models
    detector, file, backend_name = _open(args, model)
    class_map = _class_map(args, detector.spec.classes, dataset)
    accuracy = evaluate(
        TiledDetector(detector, tiling),
        dataset,
        args.split,
        label=f"eval {args.split}",
        limit=args.limit,
        class_map=class_map,
    )
    return {
        "kind": "eval",
        "model": model,
        "file": str(file),
        "name": detector.spec.name,
        "input_hw": list(detector.spec.input_hw),
        "backend": backend_name,
        "data": str(args.data),
        "split": args.split,
        "setting": {
            "conf": EVAL_CONF,
            "iou": EVAL_IOU,
            "limit": args.limit,
            "tile": str(tiling),
            "tile_overlap": None if tiling.is_whole else tiling.overlap,
            "class_map": class_map and class_map.to_json(detector.spec.classes, dataset.classes),
            "single_class": args.single_class,
        },
        **asdict(accuracy),
    }


def show(result: dict[str, Any]) -> Any:
    """Tables of AP by class, size and source, and of the confusions; of ``--safety``, one of its measures."""
    if result["kind"] == SAFETY:
        return safety.show(result)
    from rich.console import Group  # noqa: PLC0415 (for the terminal only)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from runtime.metrics.confusion import CONF, IOU  # noqa: PLC0415

    title = f"{result['model']} on {result['split']}: {result['images']} images, {result['labels']} labels"
    table = Table("objects", "labels", "AP50, points", "AP50-95, points", title=title)
    table.add_row("all", str(result["labels"]), points(result["map50"]), points(result["map50_95"]))
    table.add_section()
    groups = (
        ("per_class", "{}"),
        ("by_size", "{}, by COCO's areas"),
        ("by_short_side_px", "shorter side {} px"),
    )
    for group, label in groups:
        for name, row in result[group].items():
            scores = points(row["ap50"]), points(row["ap50_95"])
            table.add_row(label.format(name), str(row["labels"]), *scores)
        table.add_section()
    for name, row in result["per_source"].items():
        scores = points(row["map50"]), points(row["map50_95"])
        table.add_row(f"source {name}", str(row["labels"]), *scores)
    columns = [name for name in (*result["taken_for"], "missed") if name != NOTHING]
    heading = f"Predicted classes at score >= {CONF} and IoU >= {IOU}, labels"
    found = Table("true class", *columns, title=heading)
    for name, row in result["taken_for"].items():
        label = "none (false positives)" if name == NOTHING else name
        found.add_row(label, *(str(row.get(column, "")) for column in columns))
    return Group(table, found, Text("\n".join(f"doubt: {line}" for line in result["doubts"])))


def _class_map(args: argparse.Namespace, classes: tuple[str, ...], dataset: Dataset) -> ClassMap | None:
    """The scored classes; None where model and data set have the same and nothing else was asked for."""
    from runtime.metrics.class_map import proposal, read_class_map, single_class  # noqa: PLC0415
    from runtime.metrics.evaluate import check_classes  # noqa: PLC0415

    if args.single_class and args.class_map:
        raise UsageError("--single-class and --class-map contradict each other", hint="leave one of them out")
    if args.single_class:
        return single_class(classes, dataset.classes)
    if args.class_map:
        return read_class_map(args.class_map, classes, dataset.classes)
    check_classes(classes, dataset, proposal(classes, dataset.classes))
    return None


def _open(args: argparse.Namespace, model: str) -> tuple[Detector, Path, str]:
    """The detector with the thresholds of the evaluation, its file, and the name of its backend."""
    from runtime.metrics.evaluate import EVAL_CONF, EVAL_IOU  # noqa: PLC0415

    setting: dict[str, Any] = {"conf": EVAL_CONF, "iou": EVAL_IOU, "multi_label": not args.single_class}
    if Path(model).suffix == ".pt":
        return _legacy(args, model, setting), Path(model), "torch"
    from runtime.detector import open_detector  # noqa: PLC0415

    file = model_file(model)
    options = {name: getattr(args, name) for name in ("backend", "device", "threads", "trust_engine")}
    detector = open_detector(file, **options, **setting, input_hw=sizes.chosen(args))
    return detector, file, detector.backend.name


def _legacy(args: argparse.Namespace, name: str, setting: dict[str, Any]) -> Detector:
    """An original YOLOv5 .pt file, run by torch, as the reference for its exports."""
    if args.backend != "auto" or args.device or args.threads is not None or args.imgsz:
        raise UsageError(
            f"{name} is run by torch: --backend, --device, --threads and --imgsz do not apply",
            hint=f"`edgestill export {name} --to onnx --precision fp32` writes a file for the backends",
        )
    from distill.checkpoints.native import load  # noqa: PLC0415 (imports torch)
    from distill.training.torch_detector import TorchDetector  # noqa: PLC0415

    model, spec, _ = load(Path(name))
    return TorchDetector(model, spec, **setting)
