"""``edgestill verify``: two model files on the same images."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.dataset import Dataset
from edgestill.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from export.verify.compare import Seen
    from runtime.detector import ModelDetector

SUMMARY = "Compare two model files on images: matched boxes, score drift, class swaps, mAP"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "reference", metavar="A", help="the source: a model file, a checkpoint folder, `student`"
    )
    parser.add_argument("candidate", metavar="B", help="the file that should do the same")
    parser.add_argument("--data", required=True, type=Path, metavar="DATA.yaml", help="images to compare on")
    parser.add_argument("--split", default="val", help="train, val (default) or test")
    parser.add_argument("--max-drop", type=float, default=0.5, help="mAP50-95 points of 100 (default 0.5)")
    parser.add_argument("--images", type=int, metavar="N", help="use N images, spread over the split")
    parser.add_argument("--backend", default="auto", help="ort, ov, or auto (by the file; default)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads; default: the library's choice")
    parser.add_argument("--trust-engine", action="store_true", help="run an .engine that others built")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Compare; the result says what was measured and what is beyond the limits."""
    from export.model_file import resolve  # noqa: PLC0415
    from export.verify import compare, gate  # noqa: PLC0415

    dataset = Dataset.open(args.data)
    paths = [resolve(name) for name in (args.reference, args.candidate)]
    detectors = [_open(path, args) for path in paths]
    classes = detectors[0].spec.classes
    if classes != detectors[1].spec.classes:
        raise UsageError(
            f"the classes are {', '.join(classes)} and {', '.join(detectors[1].spec.classes)}",
            hint="compare a file with the one that it was made from",
        )
    samples = compare.load_samples(dataset, args.split, classes, limit=args.images)
    seen: list[Seen] = [compare.look(d, samples, path.name) for d, path in zip(detectors, paths, strict=True)]
    comparison = compare.compare(seen[0], seen[1], samples, classes)
    held_to = replace(gate.LIMITS["int8"], max_drop=args.max_drop)
    return {
        "kind": "verify",
        "reference": str(paths[0]),
        "candidate": str(paths[1]),
        "data": str(args.data),
        "split": args.split,
        **gate.describe(comparison, held_to),
    }


def verdict(result: dict[str, Any]) -> None:
    """Raise VerificationError, after the result was printed, if something is beyond the limits."""
    if result["failures"]:
        raise VerificationError(
            f"{result['candidate']} differs from {result['reference']}: {'; '.join(result['failures'])}",
            hint="export it again with more calibration images, or keep a higher precision",
        )


def show(result: dict[str, Any]) -> Any:
    """A table of the figures."""
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415 (only a person needs it)

    table = Table("", "", title=f"{result['candidate']} against {result['reference']}", show_header=False)
    for key in ("images", "reference_sure", "matched", "missed", "missed_small", "extra", "red_green_swaps"):
        table.add_row(key.replace("_", " "), str(result[key]))
    for key in ("score_drift_mean", "score_drift_max", "iou_mean", "drop_points"):
        table.add_row(key.replace("_", " "), "-" if result[key] is None else f"{result[key]:.3f}")
    if result["drop_low_points"] is not None:
        ends = f"{result['drop_low_points']:.2f} to {result['drop_high_points']:.2f}"
        table.add_row(f"drop points, {100 * result['confidence']:.0f} % interval", ends)
        table.add_row("drop points by label", f"{result['drop_by_label_points']:.3f}")
    for name, figures in result["by_class"].items():
        table.add_row(escape(name), _class_words(figures))
    kept = result["kept_map50_95"]
    table.add_row("mAP50-95 against what A finds", "-" if kept is None else f"{100 * kept:.1f}")
    table.add_row("beyond the limits", "; ".join(result["failures"]) or "nothing")
    for doubt in result["doubts"]:
        table.add_row("doubt", escape(doubt))
    return table


def _class_words(figures: dict[str, Any]) -> str:
    """What became of one class, for a person."""
    words = f"{figures['matched']} of {figures['sure']} found again"
    one, other = figures["reference_map50_95"], figures["candidate_map50_95"]
    if one is None or other is None:
        return words
    return f"{words}; AP50-95 {100 * one:.1f}, {100 * other:.1f} in B, on {figures['labels']} labels"


def _open(path: Path, args: argparse.Namespace) -> ModelDetector:
    from runtime.detector import open_detector  # noqa: PLC0415
    from runtime.metrics.evaluate import EVAL_CONF, EVAL_IOU  # noqa: PLC0415

    options = {"backend": args.backend, "threads": args.threads, "trust_engine": args.trust_engine}
    return open_detector(path, conf=EVAL_CONF, iou=EVAL_IOU, multi_label=True, **options)
