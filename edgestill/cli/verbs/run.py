"""``edgestill run``: a model on images, a video or a camera."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.cli.options import backend, classes, light_flags, saving, sizes, tiles, web_flag
from edgestill.cli.options.model import model_file
from edgestill.errors import DataError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from runtime.frames import FrameSource
    from runtime.pipeline import Pipeline, Sink, Summary

SUMMARY = "Run a model on images, a video or a camera stream"
EXAMPLE = "edgestill run student --source street.mp4 --track --save annotated.mp4"
BOXES_SHOWN = 40  # of a single image, in the table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("model", metavar="MODEL", help=backend.MODEL)
    parser.add_argument(
        "--source",
        required=True,
        help="image, folder, glob, video, camera number, rtsp://..., v4l2:///dev/videoN",
    )
    backend.add_arguments(parser)
    parser.add_argument("--conf", type=float, default=0.25, help="minimum confidence score (default 0.25)")
    parser.add_argument("--iou", type=float, default=0.45, help="IoU threshold of the NMS (default 0.45)")
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FILE|DIR",
        help="write annotated frames: a video (.mp4, .mkv, .mov), an image, or a folder of images",
    )
    classes.add_argument(parser)
    light_flags.add_arguments(parser)
    saving.add_arguments(parser)
    parser.add_argument("--show", action="store_true", help="show the annotated frames in a window; q quits")
    web_flag.add_argument(parser)
    parser.add_argument("--json-lines", action="store_true", help="print one JSON object per frame on stdout")
    parser.add_argument("--max-frames", type=int, metavar="N", help="stop after N frames")
    parser.add_argument(
        "--track",
        action="store_true",
        help="track objects over frames, and report the state of traffic lights",
    )
    sizes.add_argument(parser)
    tiles.add_arguments(parser)
    parser.add_argument(
        "--force", action="store_true", help="overwrite the targets of --save, --save-crops and --save-txt"
    )


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Run the model. The result is a summary, or None with ``--json-lines``, which prints each frame."""
    _check(args)
    from edgestill.demo.pipeline import assemble  # noqa: PLC0415
    from edgestill.progress import say  # noqa: PLC0415
    from runtime.detector import open_detector  # noqa: PLC0415
    from runtime.frames import open_source  # noqa: PLC0415
    from runtime.light_states.classifier import STATES  # noqa: PLC0415
    from runtime.sinks.video_writer import VideoSink  # noqa: PLC0415

    tiling = tiles.tiling(args)
    path = model_file(args.model)
    # Port and model first: a port in use or a misspelt name is reported before a camera is waited for.
    with (
        web_flag.opened(args) as view,
        closing(open_detector(path, **_detector_options(args))) as detector,
        light_flags.opened(args) as light_classifier,
        closing(open_source(args.source)) as source,
    ):
        names = detector.spec.classes if light_classifier is None else STATES
        kept = classes.chosen(args.classes, names)
        extra, sinks = saving.extra_sinks(args, source, names), _sinks(args, source, names)
        watched = web_flag.watch(view, args, detector, {Path(args.source).name: source}, names)
        pipeline = assemble(
            detector,
            source,
            title=Path(args.model).stem,
            track=args.track,
            sinks=[*sinks, *extra.sinks(), *watched.sinks],
            tiling=tiling,
            class_ids=kept,
            lights=light_classifier,
            gate=watched.gate,
        )
        summary = _run(pipeline, source, args)
    broke_off = _broke_off(source, summary, args)
    for doubt in source.doubts:
        say(doubt)
    if args.json_lines:
        say(_line(summary, extra.to_json()))
        _refuse_incomplete(broke_off)
        return None
    return {
        "model": path,
        "name": args.model,
        "source": args.source,
        "tile": str(tiling),
        "backend": detector.backend.name,
        "device": detector.backend.device,
        "source_frames": source.total,
        **asdict(summary),
        "codec": next((sink.codec for sink in sinks if isinstance(sink, VideoSink)), None),
        "complete": broke_off is None,
        "doubts": [*source.doubts, *([broke_off] if broke_off else [])],
        **extra.to_json(),
        "boxes": _boxes(pipeline, names) if source.total == 1 else None,
    }


def verdict(result: Mapping[str, Any] | None) -> None:
    """Raise DataError for a video file that ended before its declared end."""
    if result is not None and not result["complete"]:
        _refuse_incomplete(result["doubts"][-1])


def show(result: Mapping[str, Any]) -> RenderableType:
    """The summary as a table; of a single image also its boxes."""
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=f"{result['name']} on {result['source']}", show_header=False, title_justify="left")
    table.add_row("backend", f"{result['backend']} on {result['device']}")
    table.add_row("frames", f"{result['frames']} at {result['fps']:.1f} fps, {result['dropped']} dropped")
    found = ", ".join(f"{count} {name}" for name, count in result["detections"].items())
    table.add_row("detections", found or "none")
    if result["tracks"] is not None:
        table.add_row("tracks", str(result["tracks"]))
    if result["age_ms"] is not None:
        table.add_row("median age", f"{result['age_ms']:.1f} ms")
    stages = ", ".join(f"{stage} {ms:.2f}" for stage, ms in result["stages_ms"].items())
    table.add_row("median time, ms", stages)
    files = result["files"]
    if files:
        codec = f", {result['codec']}" if result["codec"] else ""
        table.add_row(
            "written",
            f"{files[0]}{codec}" if len(files) == 1 else f"{len(files)} files in {files[0].parent}",
        )
    for key, what in (("crops", "crops"), ("label_files", "label files")):
        if result[key]:
            count = result[key]["files"]
            table.add_row(what, f"{count} file{'' if count == 1 else 's'} in {result[key]['folder']}")
    for doubt in result["doubts"]:
        table.add_row("doubt", doubt)
    return Group(table, _box_table(result["boxes"])) if result["boxes"] else table


def _box_table(boxes: Sequence[Mapping[str, Any]]) -> Table:
    """The boxes of an image, highest score first."""
    from rich.table import Table  # noqa: PLC0415

    shown = boxes[:BOXES_SHOWN]
    rest = f", the first {len(shown)} of them here" if len(shown) < len(boxes) else ""
    table = Table(title=f"{len(boxes)} detection{'s' if len(boxes) > 1 else ''}{rest}", title_justify="left")
    table.add_column("class")
    for column in ("score", "x0", "y0", "x1", "y1"):
        table.add_column(f"{column} px" if column != "score" else column, justify="right")
    for box in shown:
        table.add_row(box["class"], f"{box['score']:.2f}", *(f"{side:.1f}" for side in box["box"]))
    return table


def _boxes(pipeline: Pipeline, names: Sequence[str]) -> list[dict[str, Any]]:
    """The detections of the only frame as plain data."""
    from runtime.sinks.jsonlines import detections_json  # noqa: PLC0415

    return [] if pipeline.last is None else detections_json(pipeline.last, names)


def _detector_options(args: argparse.Namespace) -> dict[str, Any]:
    names = ("backend", "conf", "iou", "threads", "trust_engine")
    return {**{name: getattr(args, name) for name in names}, "input_hw": sizes.chosen(args)}


def _check(args: argparse.Namespace) -> None:
    for name in ("conf", "iou"):
        if not 0 <= getattr(args, name) <= 1:
            raise UsageError(f"--{name} is {getattr(args, name)}", hint="use a number from 0 to 1")
    for name in ("max_frames", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {value}", hint="use 1 or more")


def _sinks(args: argparse.Namespace, source: FrameSource, names: tuple[str, ...]) -> list[Sink]:
    from edgestill.demo.pipeline import file_sink  # noqa: PLC0415
    from runtime.sinks.jsonlines import JsonLines  # noqa: PLC0415
    from runtime.sinks.window import WindowSink  # noqa: PLC0415

    sinks: list[Sink] = []
    if args.json_lines:
        sinks.append(JsonLines(sys.stdout, names))
    if args.show:
        sinks.append(WindowSink())
    if args.save is not None:
        limits = {"max_frames": args.max_frames, "force": args.force}
        sinks.append(file_sink(args.save, source, args.source, **limits))
    return sinks


def _run(pipeline: Pipeline, source: FrameSource, args: argparse.Namespace) -> Summary:
    from edgestill.progress import progress, say  # noqa: PLC0415

    ends = [n for n in (source.total, args.max_frames) if n is not None]
    if not ends:
        say(f"{args.source}: running until interrupted (Ctrl-C)")
        return pipeline.run(source)
    with progress("run", min(ends)) as advance:
        return pipeline.run(source, max_frames=args.max_frames, advance=advance)


def _broke_off(source: FrameSource, summary: Summary, args: argparse.Namespace) -> str | None:
    """Where a file ended too early; None if no frame beyond that was asked for."""
    return None if summary.frames == args.max_frames else source.broke_off


def _refuse_incomplete(broke_off: str | None) -> None:
    if broke_off is not None:
        hint = "the results up to there are good; copy the file again, or repair it: ffmpeg -i IN -c copy OUT"
        raise DataError(broke_off, hint=hint)


def _line(summary: Summary, extra: Mapping[str, Mapping[str, Any] | None]) -> str:
    files = summary.files
    wrote = f"; wrote {files[0] if len(files) == 1 else f'{len(files)} files'}" if files else ""
    wrote += "".join(f"; {one['files']} files in {one['folder']}" for one in extra.values() if one)
    return f"{summary.frames} frames at {summary.fps:.1f} fps, {summary.dropped} dropped{wrote}"
