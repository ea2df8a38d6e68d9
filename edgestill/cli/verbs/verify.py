"""``edgestill verify``: compare two model files on the same images."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.cli.comparison_labels import LABELS
from edgestill.cli.options.model import model_file
from edgestill.dataset import Dataset
from edgestill.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from export.verify.compare import DetectorRun

SUMMARY = "Compare two model files on images: matched detections, score drift, class changes, mAP"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "reference", metavar="A", help="the reference: a model file, a checkpoint folder or `student`"
    )
    parser.add_argument("candidate", metavar="B", help="the file to compare with it")
    parser.add_argument("--data", required=True, type=Path, metavar="DATA.yaml", help="images to compare on")
    parser.add_argument("--split", default="val", help="train, val (default) or test")
    parser.add_argument(
        "--max-drop",
        type=float,
        default=0.5,
        metavar="POINTS",
        help="maximum drop in mAP50-95, percentage points (default 0.5)",
    )
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="compare on N images, spread evenly over the split (default: all)",
    )
    parser.add_argument("--backend", default="auto", help="ort, ov, trt, or auto (by the file; default)")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads (default: the library's choice)"
    )
    parser.add_argument("--trust-engine", action="store_true", help="run an .engine that was built elsewhere")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Compare; the result holds the measurements and the limits that are exceeded."""
    from edgestill.files import sha256_file  # noqa: PLC0415
    from export.verify import compare, evidence, gate  # noqa: PLC0415
    from export.verify.source_check import label_doubts  # noqa: PLC0415

    dataset = Dataset.open(args.data)
    paths = [model_file(name) for name in (args.reference, args.candidate)]
    options = {"backend": args.backend, "threads": args.threads, "trust_engine": args.trust_engine}
    detectors = [compare.open_for_evaluation(path, **options) for path in paths]
    classes = detectors[0].spec.classes
    if classes != detectors[1].spec.classes:
        raise UsageError(
            f"the classes are {', '.join(classes)} and {', '.join(detectors[1].spec.classes)}",
            hint="compare a file with the one that it was made from",
        )
    samples = compare.load_samples(dataset, args.split, classes, limit=args.images)
    runs: list[DetectorRun] = [
        compare.run_detector(d, samples, path.name) for d, path in zip(detectors, paths, strict=True)
    ]
    comparison = compare.compare(runs[0], runs[1], samples, classes)
    measured = gate.describe(comparison, replace(gate.LIMITS["int8"], max_drop=args.max_drop))
    specs = [detector.spec for detector in detectors]
    doubts = [*evidence.input_differences(*specs), *label_doubts(samples), *measured["doubts"]]
    if sha256_file(paths[0]) == sha256_file(paths[1]):
        doubts.append("A and B have the same content: only a difference of their runs could be found")
    return {
        "kind": "verify",
        "reference": str(paths[0]),
        "candidate": str(paths[1]),
        "data": str(args.data),
        "split": args.split,
        "input_hw": dict(zip(("reference", "candidate"), (list(s.input_hw) for s in specs), strict=True)),
        **measured,
        "doubts": doubts,
    }


def verdict(result: dict[str, Any]) -> None:
    """Raise VerificationError, after the result was printed, if a limit is exceeded."""
    if not result["failures"]:
        return
    pair, why = (result["candidate"], result["reference"]), "; ".join(result["failures"])
    if not result["compared_by"]:
        raise VerificationError(
            f"{pair[0]} was not proved equal to {pair[1]}: {why}",
            hint="compare on images with objects that the model finds: --data DATA.yaml",
        )
    sizes = result["input_hw"]
    raise VerificationError(
        f"{pair[0]} differs from {pair[1]}: {why}",
        hint="export it again with more calibration images, or keep a higher precision"
        if sizes["reference"] == sizes["candidate"]
        else "compare files of one input size: edgestill export CKPT --imgsz HxW",
    )


def show(result: dict[str, Any]) -> Any:
    """A table of the measurements."""
    from rich.table import Table  # noqa: PLC0415 (for the terminal only)

    table = Table("", "", title=f"{result['candidate']} against {result['reference']}", show_header=False)
    for key in ("images", "reference_sure", "matched", "missed", "missed_small", "extra", "red_green_swaps"):
        table.add_row(LABELS[key], str(result[key]))
    for key in ("score_drift_mean", "score_drift_max", "iou_mean", "drop_points"):
        table.add_row(LABELS[key], "-" if result[key] is None else f"{result[key]:.3f}")
    if result["drop_low_points"] is not None:
        ends = f"{result['drop_low_points']:.2f} to {result['drop_high_points']:.2f}"
        table.add_row(f"mAP50-95 drop, {100 * result['confidence']:.0f} % interval", ends)
        table.add_row("drop in the mean over labels, points", f"{result['drop_by_label_points']:.3f}")
    for name, figures in result["by_class"].items():
        table.add_row(name, _class_words(figures))
    agreement = result["kept_map50_95"]
    table.add_row("agreement mAP50-95, points", "-" if agreement is None else f"{100 * agreement:.1f}")
    table.add_row("compared by", ", ".join(result["compared_by"]) or "nothing")
    table.add_row("limits exceeded", "; ".join(result["failures"]) or "none")
    for doubt in result["doubts"]:
        table.add_row("warning", doubt)
    return table


def _class_words(figures: dict[str, Any]) -> str:
    """The figures of one class as text."""
    words = f"{figures['matched']} of {figures['sure']} matched"
    one, other = figures["reference_map50_95"], figures["candidate_map50_95"]
    if one is None or other is None:
        return words
    return f"{words}; AP50-95 {100 * one:.1f}, {100 * other:.1f} in B, on {figures['labels']} labels"
