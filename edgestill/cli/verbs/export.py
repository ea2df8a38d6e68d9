"""``edgestill export``: a checkpoint as a file that a device runs, proved and compared with its source."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.cli.options import calibration, engine, form, recalibrate, repair
from edgestill.cli.options.sizes import input_hw
from edgestill.dataset import Dataset
from edgestill.errors import ArtifactError, UsageError, missing_library

if TYPE_CHECKING:
    from edgestill.checkpoint import Checkpoint
    from edgestill.spec import ModelSpec
    from export.build import Check
    from export.quantize.calibration.images import Calibration
    from export.verify.compare import Sample, Seen
    from runtime.detector import Detector

SUMMARY = "Make a device's file from a checkpoint: ONNX, OpenVINO or TensorRT; FP32, FP16 or INT8"

VERIFY_IMAGES = 200  # of the split, spread; a difference of mAP between two files is steady from there on


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What a file is compared on."""

    dataset: Dataset
    split: str
    samples: list[Sample]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add("checkpoint", metavar="CKPT", help="a checkpoint folder, `student`, `teacher`, or a YOLOv5 .pt file")
    add(
        "--to",
        required=True,
        choices=["onnx", "openvino", "tensorrt", "tensorrt-rtx"],
        help="the file format; tensorrt builds on the GPU it is for, tensorrt-rtx anywhere for RTX cards",
    )
    add("--precision", required=True, choices=["fp32", "fp16", "int8"], help="what to compute in")
    add("--verify", type=Path, metavar="DATA.yaml", help="images to compare on (default: those of --calib)")
    add("--split", help="the split of --verify (default: val, else test)")
    add("--images", type=int, default=VERIFY_IMAGES, metavar="N", help="compare on N images (default 200)")
    add("--max-drop", type=float, metavar="POINTS", help="mAP50-95 that may be lost, in points of 100")
    add("--imgsz", metavar="HxW", help="input size, e.g. 384x640 (default: the checkpoint's)")
    add("--out", type=Path, default=Path("exports"), metavar="DIR", help="folder (default exports)")
    add("--name", help="the files' name (default: the checkpoint's, and the precision)")
    add("--force", action="store_true", help="replace files of that name")
    form.add_arguments(parser)
    calibration.add_arguments(parser)
    repair.add_arguments(parser)
    recalibrate.add_arguments(parser)
    engine.add_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Build, prove, compare, publish."""
    from export.build import export  # noqa: PLC0415 (brings onnx)
    from export.job import Job  # noqa: PLC0415

    calibration.refuse_senseless(args)
    repair.refuse_senseless(args)
    recalibrate.refuse_senseless(args)
    engine_options, file_form = engine.read(args), form.read(args)
    checkpoint = calibration.with_scales(args, _checkpoint(args.checkpoint, args.imgsz))
    held = _held_out(args, checkpoint.spec)
    judges = (held.dataset, held.split) if held else None
    choice = calibration.read(args, checkpoint, judges)
    job = Job(
        checkpoint=checkpoint,
        target=args.to,
        precision=args.precision,
        calibration=choice.calibration,
        method=choice.method,
        trial=choice.trial,
        recalibration=recalibrate.read(args, choice.calibration, judges),
        cache=choice.cache,
        engine=engine_options,
        form=file_form,
    )
    name = args.name or f"{_label(args.checkpoint, checkpoint)}-{args.precision}"
    made = export(
        job,
        args.out,
        name,
        check=_check(args, checkpoint, held),
        force=args.force,
        repair_with=repair.read(args, held.samples[0].path.parent if held else None),
    )
    record = made.record
    return {
        "kind": "export",
        "checkpoint": args.checkpoint,
        "to": args.to,
        "precision": args.precision,
        "files": [str(path) for path in made.files],
        "bytes": sum(path.stat().st_size for path in made.files),
        "manifest": str(made.manifest),
        "input_hw": list(record.spec.input_hw),
        "layout": record.spec.layout,
        "precision_proved": record.precision_proved,
        "unproved": dict(record.unproved),
        "calibration": _summary(record.calibration),
        "verify": record.verify,
        "recalibration": record.recalibration,
        "repair": repair.told(args, made),
        "doubts": [
            *_doubts(args, held, choice.calibration),
            *(record.verify or {}).get("doubts", ()),
            *made.doubts,
        ],
    }


def show(result: dict[str, Any]) -> Any:
    """The files, the proof and the comparison in a few rows."""
    from rich.markup import escape  # noqa: PLC0415 (only a person needs it)
    from rich.table import Table  # noqa: PLC0415

    table = Table("", "", title=escape(f"{result['checkpoint']} to {result['to']}"), show_header=False)
    for path in (*result["files"], result["manifest"]):
        table.add_row("written", escape(path))
    table.add_row("output", result["layout"])
    for kind, counts in result["precision_proved"].items():
        table.add_row(kind, ", ".join(f"{dtype} {count}" for dtype, count in counts.items()))
    for name, reason in ((result["calibration"] or {}).get("left_float") or {}).items():
        table.add_row("left float", f"{name}: {reason}")
    told = result["verify"] or {}
    for key in ("reference", "images", "reference_sure", "matched", "missed", "extra", "red_green_swaps"):
        if key in told:
            table.add_row(key.replace("_", " "), escape(str(told[key])))
    for key in ("score_drift_mean", "iou_mean", "drop_points"):
        if told.get(key) is not None:
            table.add_row(key.replace("_", " "), f"{told[key]:.4f}")
    rows = recalibrate.rows(result["recalibration"], result["verify"])
    for name, text in [*rows, *repair.rows(result["repair"])]:
        table.add_row(name, escape(text))
    for doubt in result["doubts"]:
        table.add_row("doubt", doubt)
    return table


def _checkpoint(name: str, imgsz: str | None) -> Checkpoint:
    """The weights, with the spec at the input size that was asked for."""
    from edgestill.checkpoint import read_checkpoint  # noqa: PLC0415 (after the arguments are checked)
    from edgestill.shipped import checkpoint_folder  # noqa: PLC0415

    path = checkpoint_folder(name)
    if path.suffix == ".pt":
        checkpoint = _legacy(path)
    elif path.is_file() or not path.exists():
        what = "is a file, not a checkpoint" if path.is_file() else "does not exist"
        raise ArtifactError(
            f"{path} {what}", hint="name a checkpoint folder, `student`, `teacher`, or a YOLOv5 .pt file"
        )
    else:
        checkpoint = read_checkpoint(path)
    if imgsz is None:
        return checkpoint
    return replace(checkpoint, spec=checkpoint.spec.resized(input_hw(imgsz)))


def _legacy(path: Path) -> Checkpoint:
    try:
        from distill.checkpoints.yolov5_pt import load_yolov5_pt  # noqa: PLC0415 (brings torch)
    except ImportError as error:
        raise missing_library(f"reading {path}", error.name, "train") from error
    return load_yolov5_pt(path)


def _held_out(args: argparse.Namespace, spec: ModelSpec) -> _Held | None:
    """The images to compare on; a missing split is told before anything is built."""
    from export.verify.compare import load_samples  # noqa: PLC0415

    if args.images < 1:
        raise UsageError(f"--images {args.images} leaves nothing to compare on", hint="--images 1 or more")
    path = args.verify or args.calib
    if path is None:
        return None
    dataset = Dataset.open(path)
    split = args.split or next((s for s in ("val", "test") if s in dataset.splits), "val")
    return _Held(
        dataset=dataset,
        split=split,
        samples=load_samples(dataset, split, spec.classes, limit=args.images),
    )


def _check(args: argparse.Namespace, checkpoint: Checkpoint, held: _Held | None) -> Check:
    """Compares a built file with the torch checkpoint, or without torch with the FP32 graph."""
    from export.verify import compare, gate  # noqa: PLC0415
    from export.verify.score_calibration import effect  # noqa: PLC0415

    held_to = gate.LIMITS[args.precision]
    if args.max_drop is not None:
        held_to = replace(held_to, max_drop=args.max_drop)
    known: dict[str, Seen] = {}  # what the reference finds, looked at once however often a repair asks

    def check(built: Path, source: Path) -> dict[str, Any] | None:
        if held is None:
            return None
        if not known:
            is_rounded = args.precision == "int8" and checkpoint.scheme is not None
            reference, what = _reference(args.checkpoint, checkpoint.spec, source, is_rounded=is_rounded)
            known[what] = compare.look(reference, held.samples, f"look: {what}")
        [(what, true)] = known.items()
        detector, classes = _open(built), checkpoint.spec.classes
        seen = compare.look(detector, held.samples, f"look: {built.name}")
        comparison = compare.compare(true, seen, held.samples, classes)
        gate.refuse_beyond(
            comparison,
            held_to,
            f"{built.name} was not published, it differs from its source",
            "calibrate on more images, let --repair move the worst layers, or keep a higher precision"
            if args.precision == "int8"
            else "this is a fault of the exporter: report it with the checkpoint",
        )
        where = {"reference": what, "data": str(held.dataset.path), "split": held.split}
        told = where | gate.describe(comparison, held_to)
        if knots := detector.spec.score_map:
            told["recalibration"] = effect(true, seen, held.samples, classes, knots)
        return told

    return check


def _reference(name: str, spec: ModelSpec, source: Path, *, is_rounded: bool) -> tuple[Detector, str]:
    """The detector that a file is compared with, and what it is: with trained scales, what was trained."""
    if find_spec("torch") is None:
        return _open(source), "FP32 ONNX of the checkpoint"
    from distill.checkpoints import native  # noqa: PLC0415 (brings torch)
    from distill.qat.checkpoint import load  # noqa: PLC0415
    from distill.training.torch_detector import TorchDetector  # noqa: PLC0415
    from edgestill.shipped import checkpoint_folder  # noqa: PLC0415
    from runtime.metrics.evaluate import EVAL_CONF, EVAL_IOU  # noqa: PLC0415

    path = checkpoint_folder(name)
    model = load(path)[0] if is_rounded else native.load(path)[0]
    detector = TorchDetector(model, spec, conf=EVAL_CONF, iou=EVAL_IOU, multi_label=True)
    return detector, f"torch checkpoint{', rounded as it was trained' if is_rounded else ''}"


def _open(path: Path) -> Detector:
    from runtime.detector import open_detector  # noqa: PLC0415
    from runtime.metrics.evaluate import EVAL_CONF, EVAL_IOU  # noqa: PLC0415

    return open_detector(path, conf=EVAL_CONF, iou=EVAL_IOU, multi_label=True)


def _label(name: str, checkpoint: Checkpoint) -> str:
    """The checkpoint's own name; ``best`` and ``last`` say nothing, their run's name does."""
    path = Path(name)
    stem = path.parent.name if path.name in {"best", "last"} else path.stem
    return stem or checkpoint.spec.name


def _summary(record: Any) -> dict[str, Any] | None:
    """The calibration record with the number of images and ranges in place of them; the manifest has them."""
    if record is None:
        return None
    return {**record, **{key: len(record[key]) for key in ("images", "ranges") if key in record}}


def _doubts(args: argparse.Namespace, held: _Held | None, calibration: Calibration | None) -> list[str]:
    found = []
    if held is None:
        found.append("the file was not compared with its source on images: add --verify DATA.yaml")
    elif any(sample.truth is None for sample in held.samples):
        found.append("the data's classes are not the model's: boxes were compared, mAP was not")
    has_half = args.to.startswith("tensorrt") if args.precision == "int8" else args.to != "openvino"
    if args.precision != "fp32" and has_half and calibration is None:
        found.append("no image was looked at for numbers that FP16 cannot hold: add --verify DATA.yaml")
    return found
