"""``edgestill eval --safety``: what detectors of traffic lights get dangerously wrong, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.cli.options import sizes, tiles
from edgestill.cli.options.model import model_file
from edgestill.dataset import Dataset
from edgestill.errors import DataError, UsageError

if TYPE_CHECKING:
    from benchmarks.tracking.known_tracks import Clip
    from runtime.tiling import TiledDetector

CONF, IOU = 0.25, 0.45  # the defaults of ``edgestill run``


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--safety`` and the options that only it has."""
    parser.add_argument(
        "--safety",
        action="store_true",
        help="of a detector of traffic lights: red seen as green, missed reds by size and darkness, flicker; "
        "several MODELs, such as FP32 and INT8, stand side by side",
    )
    parser.add_argument(
        "--clip",
        action="append",
        type=Path,
        metavar="FILE.gt.json",
        help="with --safety: true states in the video beside it, for the flicker; may be repeated",
    )
    parser.add_argument(
        "--conf", type=float, metavar="C", help=f"with --safety: minimum score, as in `run` (default {CONF})"
    )


def refuse_without(args: argparse.Namespace) -> None:
    """Raise UsageError if an option of ``--safety`` is given without it."""
    if len(args.models) > 1:
        raise UsageError("eval scores one MODEL", hint="several stand side by side with --safety")
    if args.clip or args.conf is not None:
        raise UsageError("--clip and --conf belong to --safety", hint="add --safety, or leave them out")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the models on the images of the split, and on the clips."""
    from benchmarks.measure.subjects import unique_names  # noqa: PLC0415
    from benchmarks.safety.figures import against_first, doubts_about, figures_of  # noqa: PLC0415
    from benchmarks.safety.lights_seen import SEEN_IOU, colours_of, see_lights  # noqa: PLC0415
    from benchmarks.tracking.known_tracks import read_clip  # noqa: PLC0415

    if args.class_map or args.single_class:
        raise UsageError("--safety knows no class maps", hint="its models have the classes of the data set")
    conf = CONF if args.conf is None else args.conf
    if not 0 <= conf <= 1:
        raise UsageError(f"--conf {conf:g} is not within 0 and 1", hint=f"for example --conf {CONF}")
    dataset = Dataset.open(args.data)
    colours = colours_of(dataset.classes)
    clips = {path: read_clip(path) for path in args.clip or ()}
    names = unique_names(args.models)
    with ExitStack() as stack:
        detectors = dict(zip(names, _open(args, stack, conf), strict=True))
        lights, seen = see_lights(detectors, dataset, args.split, limit=args.limit)
        models = [
            {
                **_identity(name, model, detectors[name]),
                **figures_of(lights, seen[name], dataset.classes, colours),
                "against_first": against_first(lights, seen[names[0]], seen[name], colours)
                if name != names[0]
                else None,
                "clips": [_flicker(detectors[name], path, clip) for path, clip in clips.items()],
            }
            for name, model in zip(names, args.models, strict=True)
        ]
    return {
        "kind": "safety",
        "data": str(args.data),
        "split": args.split,
        "images": lights.images,
        "lights": {name: int((lights.true == k).sum()) for k, name in enumerate(dataset.classes)},
        "colours": dict(zip(dataset.classes, colours, strict=True)),
        "setting": {"conf": conf, "iou": IOU, "seen_iou": SEEN_IOU, "limit": args.limit, "confidence": 0.95},
        "models": models,
        "doubts": doubts_about(lights, colours, models[0]["clips"]),
    }


def show(result: Mapping[str, Any]) -> Any:
    """A table with a column for each model, then the doubts."""
    from rich.console import Group  # noqa: PLC0415 (for the terminal only)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from benchmarks.report.safety_section import measures  # noqa: PLC0415

    table = Table("", *(model["name"] for model in result["models"]), title=_title(result))
    for name, cells in measures(result):
        table.add_row(name, *(cell.replace("\n", ", ") for cell in cells))
    return Group(table, Text("\n".join(f"warning: {line}" for line in result["doubts"])))


def _title(result: Mapping[str, Any]) -> str:
    lights = ", ".join(f"{count} {name}" for name, count in result["lights"].items())
    return f"{result['split']}: {result['images']} images; {lights}"


def _open(args: argparse.Namespace, stack: ExitStack, conf: float) -> list[TiledDetector]:
    from runtime.detector import open_detector  # noqa: PLC0415
    from runtime.tiling import TiledDetector  # noqa: PLC0415

    options = {name: getattr(args, name) for name in ("backend", "device", "threads", "trust_engine")}
    opened = []
    for model in args.models:
        detector = open_detector(
            model_file(model), **options, conf=conf, iou=IOU, input_hw=sizes.chosen(args)
        )
        opened.append(TiledDetector(stack.enter_context(closing(detector)), tiles.tiling(args)))
    return opened


def _identity(name: str, model: str, detector: TiledDetector) -> dict[str, Any]:
    from edgestill.manifest import read_manifest  # noqa: PLC0415

    file = model_file(model)
    manifest = read_manifest(file)
    return {
        "name": name,
        "model": model,
        "file": str(file),
        "precision": manifest.precision if manifest else None,
        "input_hw": list(detector.spec.input_hw),
    }


def _flicker(detector: TiledDetector, path: Path, clip: Clip) -> dict[str, Any]:
    """The flicker of a clip, frame by frame and smoothed as in ``edgestill run --track``."""
    from benchmarks.safety.flicker import frame_by_frame, score_flicker  # noqa: PLC0415
    from benchmarks.safety.lights_seen import colours_of  # noqa: PLC0415
    from benchmarks.tracking.played_clip import play  # noqa: PLC0415
    from edgestill.cli.tracking_scores import detect  # noqa: PLC0415
    from edgestill.demo.lights import LightStates  # noqa: PLC0415
    from runtime.tracking import Tracker, TrackerSettings  # noqa: PLC0415

    seen = detect(detector, path.parent / clip.name)
    if len(seen.detections) != len(clip.frames):
        raise DataError(
            f"{path.parent / clip.name} has {len(seen.detections)} frames, and {path} has {len(clip.frames)}",
            hint="the file of true states belongs to another video",
        )
    classes = detector.spec.classes
    tracker = Tracker(TrackerSettings(by_class=False), period_s=1 / clip.fps)
    played = {
        "raw": frame_by_frame(seen.times_s, seen.detections, classes),
        "smoothed": play(seen.times_s, seen.detections, tracker, LightStates(classes)),
    }
    colours = dict(zip(clip.names, colours_of(clip.names), strict=True))
    scores = {name: score_flicker(clip, frames, colours).to_json() for name, frames in played.items()}
    return {"clip": clip.name, "fps": clip.fps, **scores}
