"""``edgestill export``: write a checkpoint as a file for a device, proved and compared with its source."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.cli import light_state_export
from edgestill.cli.comparison_labels import LABELS
from edgestill.cli.options import calibration, engine, interface, recalibrate, repair
from edgestill.cli.options.model import read_pt
from edgestill.cli.options.sizes import input_hw
from edgestill.errors import ArtifactError, UsageError
from edgestill.target import FILE_PRECISIONS, without_bf16

if TYPE_CHECKING:
    from edgestill.checkpoint import Checkpoint
    from edgestill.spec import ModelSpec
    from export.publish import Check, ExportResult
    from export.verify.source_check import EvaluationSet, OpenReference
    from runtime.detector import Detector

EXAMPLE = "edgestill export student --to openvino --precision int8 --calib scenes/data.yaml"
SUMMARY = "Export a checkpoint for a device: ONNX, OpenVINO or TensorRT; FP32, FP16, bf16 or INT8"

VERIFY_IMAGES = 200  # with more, the difference of mAP between two files hardly changes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add(
        "checkpoint",
        metavar="CKPT",
        help="a checkpoint folder, `student`, `teacher`, or a YOLOv5 .pt file; `light-states`",
    )
    add(
        "--to",
        required=True,
        choices=["onnx", "openvino", "tensorrt", "tensorrt-rtx"],
        help="file format; tensorrt builds on the GPU that will run it, tensorrt-rtx anywhere for RTX cards",
    )
    add(
        "--precision",
        required=True,
        choices=FILE_PRECISIONS,
        help="precision of the computation; bf16 is for OpenVINO on CPUs that have it",
    )
    add("--verify", type=Path, metavar="DATA.yaml", help="images to compare on (default: --calib)")
    add("--split", help="the split of --verify, or of --calib without it (default: val, else test)")
    add(
        "--images",
        type=int,
        default=VERIFY_IMAGES,
        metavar="N",
        help="compare on N images, spread evenly (default 200)",
    )
    add(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="largest drop in mAP50-95, points (default: 0.1 for FP32 and FP16, 0.5 for bf16, 1 for INT8)",
    )
    add("--imgsz", metavar="HxW", help="input size, e.g. 384x640 (default: the checkpoint's)")
    add("--out", type=Path, default=Path("exports"), metavar="DIR", help="output folder (default exports)")
    add("--name", help="name of the files (default: checkpoint, size if chosen, precision)")
    add("--force", action="store_true", help="replace existing files")
    interface.add_arguments(parser)
    calibration.add_arguments(parser)
    repair.add_arguments(parser)
    recalibrate.add_arguments(parser)
    engine.add_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Build, prove the precision, compare with the source, publish."""
    from export.build import export  # noqa: PLC0415 (brings onnx)
    from export.job import Job  # noqa: PLC0415
    from export.verify.source_check import comparison_doubts  # noqa: PLC0415

    if args.name and Path(args.name).name != args.name:
        raise UsageError(
            f"--name {args.name} is a path", hint="--out names the folder, --name the file in it"
        )
    _refuse_idle_split(args)
    if args.to != "openvino":
        without_bf16(args.precision)
    if light_state_export.is_named(args.checkpoint):
        made, found = light_state_export.run(args, _parser())
        return _result(args, made, found, repaired=None)
    calibration.refuse_conflicts(args)
    repair.refuse_conflicts(args)
    recalibrate.refuse_conflicts(args)
    engine_options, file_interface = engine.read(args), interface.read(args)
    checkpoint = calibration.with_scales(args, _checkpoint(args.checkpoint, args.imgsz))
    evaluation = _evaluation(args, checkpoint.spec)
    choice = calibration.read(args, checkpoint, evaluation)
    job = Job(
        checkpoint=checkpoint,
        target=args.to,
        precision=args.precision,
        calibration=choice.calibration,
        method=choice.method,
        trial=choice.trial,
        recalibration=recalibrate.read(args, choice.calibration, evaluation),
        cache=choice.cache,
        engine=engine_options,
        interface=file_interface,
    )
    name = args.name or _name(args, checkpoint, has_free_size=file_interface.free_hw)
    made = export(
        job,
        args.out,
        name,
        check=_check(args, checkpoint, evaluation),
        force=args.force,
        repair_with=repair.read(args, evaluation.samples[0].path.parent if evaluation else None),
    )
    found = [
        *comparison_doubts(evaluation),
        *job.doubts,
        *(made.record.calibration or {}).get("doubts", ()),
        *recalibrate.doubts(made.record.recalibration),
        *(made.record.verify or {}).get("doubts", ()),
        *made.doubts,
    ]
    return _result(args, made, found, repaired=repair.summary(args, made))


def _parser() -> argparse.ArgumentParser:
    """A parser that knows the defaults of the flags."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser


def _result(
    args: argparse.Namespace, made: ExportResult, doubts: Sequence[str], *, repaired: Any
) -> dict[str, Any]:
    """The result of an export as plain data."""
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
        "repair": repaired,
        "doubts": list(doubts),
    }


def show(result: dict[str, Any]) -> Any:
    """A table of the files, the proof and the comparison."""
    from rich.table import Table  # noqa: PLC0415

    table = Table("", "", title=f"{result['checkpoint']} to {result['to']}", show_header=False)
    for path in (*result["files"], result["manifest"]):
        table.add_row("written", path)
    table.add_row("output", result["layout"])
    for kind, counts in result["precision_proved"].items():
        table.add_row(kind, ", ".join(f"{dtype} {count}" for dtype, count in counts.items()))
    for name, reason in ((result["calibration"] or {}).get("left_float") or {}).items():
        table.add_row("kept float", f"{name}: {reason}")
    verified = result["verify"] or {}
    for key in (
        "reference",
        "images",
        "lights",
        "changed",
        "reference_sure",
        "matched",
        "missed",
        "extra",
        "red_green_swaps",
    ):
        if key in verified:
            table.add_row(LABELS[key], str(verified[key]))
    for key in ("difference_max", "score_drift_mean", "iou_mean", "drop_points"):
        if verified.get(key) is not None:
            table.add_row(LABELS[key], f"{verified[key]:.4f}")
    rows = recalibrate.rows(result["recalibration"], result["verify"])
    for name, text in [*rows, *repair.rows(result["repair"])]:
        table.add_row(name, text)
    for doubt in result["doubts"]:
        table.add_row("warning", doubt)
    return table


def _checkpoint(name: str, imgsz: str | None) -> Checkpoint:
    """The weights, with the spec at the requested input size."""
    from edgestill.checkpoint import read_checkpoint  # noqa: PLC0415 (after the arguments are checked)
    from edgestill.shipped import checkpoint_folder, hint_for_missing  # noqa: PLC0415

    path = checkpoint_folder(name)
    if path.suffix == ".pt":
        checkpoint = read_pt(path)
    elif path.is_file() or not path.exists():
        what = "is a file, not a checkpoint" if path.is_file() else "does not exist"
        raise ArtifactError(
            f"{path} {what}",
            hint=hint_for_missing(
                path, "name a checkpoint folder, `student`, `teacher`, or a YOLOv5 .pt file"
            ),
        )
    else:
        checkpoint = read_checkpoint(path)
    if imgsz is None:
        return checkpoint
    return replace(checkpoint, spec=checkpoint.spec.resized(input_hw(imgsz)))


def _refuse_idle_split(args: argparse.Namespace) -> None:
    """Raise UsageError for a split where there are no images to compare on."""
    if args.split is not None and args.verify is None and args.calib is None:
        raise UsageError(
            f"--split {args.split} is that of --verify, and there are no images to compare on",
            hint="add --verify DATA.yaml, or leave it out",
        )


def _evaluation(args: argparse.Namespace, spec: ModelSpec) -> EvaluationSet | None:
    """The images to compare on; a missing split is refused before anything is built."""
    from export.verify.source_check import EvaluationSet  # noqa: PLC0415

    if args.images < 1:
        raise UsageError(f"--images {args.images} leaves nothing to compare on", hint="--images 1 or more")
    data = args.verify or args.calib
    return None if data is None else EvaluationSet.open(data, args.split, spec.classes, limit=args.images)


def _check(
    args: argparse.Namespace, checkpoint: Checkpoint, evaluation: EvaluationSet | None
) -> Check | None:
    """Compares built files with the torch checkpoint, or without torch with the FP32 graph."""
    from export.verify.source_check import SourceCheck, open_onnx_reference  # noqa: PLC0415

    if evaluation is None:
        return None
    return SourceCheck(
        evaluation,
        checkpoint.spec.classes,
        args.precision,
        max_drop=args.max_drop,
        open_reference=_torch_reference(args, checkpoint) if find_spec("torch") else open_onnx_reference,
        device=args.device,
    )


def _torch_reference(args: argparse.Namespace, checkpoint: Checkpoint) -> OpenReference:
    """Opens the torch network as the reference, with fake quantisation if its scales were trained."""
    is_quantised = args.precision == "int8" and checkpoint.scheme is not None

    def open_reference(_: Path) -> tuple[Detector, str]:
        from distill.training.process_settings import let_idle_threads_sleep  # noqa: PLC0415

        let_idle_threads_sleep(os.environ)
        from distill.checkpoints import native  # noqa: PLC0415 (brings torch)
        from distill.qat.checkpoint import load  # noqa: PLC0415
        from distill.training.torch_detector import TorchDetector  # noqa: PLC0415
        from edgestill.shipped import checkpoint_folder  # noqa: PLC0415
        from runtime.metrics.evaluate import EVAL_CONF, EVAL_IOU  # noqa: PLC0415

        path = checkpoint_folder(args.checkpoint)
        model = load(path)[0] if is_quantised else native.load(path)[0]
        detector = TorchDetector(model, checkpoint.spec, conf=EVAL_CONF, iou=EVAL_IOU, multi_label=True)
        return detector, f"torch checkpoint{', quantised as it was trained' if is_quantised else ''}"

    return open_reference


def _name(args: argparse.Namespace, checkpoint: Checkpoint, *, has_free_size: bool) -> str:
    """Name of the files: a size that is not simply the checkpoint's stands in it, e.g. run-384x640-int8."""
    label = _label(args.checkpoint, checkpoint)
    kind = args.precision if args.opset == interface.DEFAULT_OPSET else f"opset{args.opset}-{args.precision}"
    if has_free_size:
        return f"{label}-dynamic-size-{kind}"
    size = "x".join(map(str, checkpoint.spec.input_hw))
    return f"{label}-{size}-{kind}" if args.imgsz else f"{label}-{kind}"


def _label(name: str, checkpoint: Checkpoint) -> str:
    """The name of the files: the checkpoint's, or that of the run for ``best`` and ``last``."""
    path = Path(name)
    stem = path.parent.name if path.name in {"best", "last"} else path.stem
    return stem or checkpoint.spec.name


def _summary(record: Any) -> dict[str, Any] | None:
    """The calibration record with numbers of images and ranges; the manifest lists them."""
    if record is None:
        return None
    return {**record, **{key: len(record[key]) for key in ("images", "ranges") if key in record}}
