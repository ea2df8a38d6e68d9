"""``edgestill run``: a model on images, videos and cameras."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.cli.options import (
    backend,
    classes,
    light_flags,
    outputs,
    saving,
    sizes,
    source_flags,
    tiles,
    web_flag,
)
from edgestill.cli.options.model import model_file
from edgestill.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgestill.cli.options.saving import ExtraSinks
    from edgestill.cli.run_result import RunResult
    from edgestill.demo.save_options import SaveOptions
    from runtime.frames import FrameSource
    from runtime.pipeline import Pipeline, RunEnd, Sink, Stream, StreamEnd

SUMMARY = "Run a model on images, videos and camera streams"
EXAMPLE = "edgestill run student --source street.mp4 --track --save annotated.mp4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("model", metavar="MODEL", help=backend.MODEL)
    parser.add_argument(
        "--source",
        required=True,
        action="extend",
        nargs="+",
        metavar="SOURCE",
        help=f"one or several of: {source_flags.SOURCE}",
    )
    source_flags.add_arguments(parser)
    backend.add_arguments(parser)
    parser.add_argument("--conf", type=float, default=0.25, help="minimum confidence score (default 0.25)")
    parser.add_argument("--iou", type=float, default=0.45, help="IoU threshold of the NMS (default 0.45)")
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FILE|DIR",
        help="write annotated frames: a video (.mp4, .mkv, .mov), an image, or a folder of images; of "
        "several sources a folder",
    )
    classes.add_argument(parser)
    light_flags.add_arguments(parser)
    saving.add_arguments(parser)
    parser.add_argument("--show", action="store_true", help="show the annotated frames in a window; q quits")
    web_flag.add_argument(parser)
    parser.add_argument("--json-lines", action="store_true", help="print one JSON object per frame on stdout")
    parser.add_argument("--max-frames", type=int, metavar="N", help="stop each source after N frames")
    parser.add_argument(
        "--track",
        action="store_true",
        help="track objects over frames, and report the state of traffic lights",
    )
    sizes.add_argument(parser)
    tiles.add_arguments(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="overwrite the targets of --save, --save-crops, --save-txt and --events",
    )


def run(args: argparse.Namespace) -> RunResult | None:
    """Run the model. The result is a summary, or None with ``--json-lines``, which prints each frame."""
    _check(args)
    import cv2  # noqa: PLC0415

    from devices.malloc import share_one_heap  # noqa: PLC0415
    from edgestill.cli.run_result import run_result, summary_lines  # noqa: PLC0415
    from edgestill.demo.pipeline import assemble  # noqa: PLC0415
    from edgestill.progress import say  # noqa: PLC0415
    from runtime.detector import open_detector  # noqa: PLC0415
    from runtime.frames import has_many_frames, open_source  # noqa: PLC0415
    from runtime.light_states.classifier import STATES  # noqa: PLC0415

    share_one_heap()  # before the first thread: 20 MiB less for a video
    save_options = saving.save_options(args)
    tiling = tiles.tiling(args)
    path = model_file(args.model)
    with ExitStack() as opened:
        # Port and model first: a port in use or a misspelt name is reported before a camera is waited for.
        view = opened.enter_context(web_flag.opened(args))
        throughput = all(has_many_frames(text) for text in args.source)
        detector = opened.enter_context(
            closing(open_detector(path, **_detector_options(args), throughput=throughput))
        )
        if detector.backend.concurrency > 1:
            cv2.setNumThreads(1)  # the threads of the detector scale a frame each
        lights = opened.enter_context(light_flags.opened(args))
        reading = source_flags.options(args)
        sources = [opened.enter_context(closing(open_source(text, **reading))) for text in args.source]
        names = detector.spec.classes if lights is None else STATES
        kept = classes.chosen(args.classes, names)
        ways = _ways(args, sources, names, save_options)
        events = saving.event_sink(args, names, is_live=any(source.is_live for source in sources))
        by_name = {way.stream.name: way.source for way in ways}
        watched = web_flag.watch(view, args, detector, by_name, names)
        pipeline = assemble(
            detector,
            title=Path(args.model).stem,
            sinks=[*([events] if events else []), *watched.sinks, *_shared_sinks(args, ways, names)],
            tiling=tiling,
            class_ids=kept,
            lights=lights,
            strip=args.strip == "below",
            gate=watched.gate,
        )
        for text, source in zip(args.source, sources, strict=True):
            source_flags.tell_decoder(source, text)
        end = _run(pipeline, [way.stream for way in ways], args)
    entries = [way.entry(stream, args) for way, stream in zip(ways, end.streams, strict=True)]
    facts = {
        "model": path,
        "name": args.model,
        "tile": str(tiling),
        "backend": detector.backend.name,
        "device": detector.backend.device,
        "events": events and {"file": str(events.path), "lines": events.written},
    }
    result = run_result(facts, entries, end)
    for source in sources:
        for doubt in source.doubts:
            say(doubt)
    if not args.json_lines:
        return result
    for line in summary_lines(result):
        say(line)
    verdict(result)
    return None


def verdict(result: RunResult | None) -> None:
    """Raise what ended a source or the run: an error, or the signal that asked the process to end."""
    if result is not None and result.failure is not None:
        raise result.failure


def show(result: Mapping[str, Any]) -> RenderableType:
    """The summary as a table for each source; of a single image also its boxes."""
    from edgestill.cli.run_result import tables  # noqa: PLC0415

    return tables(result)


@dataclass(frozen=True, kw_only=True)
class _Way:
    """One source and where its results go."""

    text: str
    source: FrameSource
    stream: Stream
    extra: ExtraSinks
    sinks: Sequence[Sink]
    names: tuple[str, ...]

    def entry(self, end: StreamEnd, args: argparse.Namespace) -> dict[str, Any]:
        """The figures of the source, after the run."""
        from edgestill.cli.run_result import source_entry  # noqa: PLC0415
        from runtime.sinks.jsonlines import detections_json  # noqa: PLC0415
        from runtime.sinks.segments import SegmentSink  # noqa: PLC0415
        from runtime.sinks.video_writer import VideoSink  # noqa: PLC0415

        boxes = None
        if self.source.total == 1:
            boxes = [] if end.last is None else detections_json(end.last, self.names)
        return source_entry(
            end,
            self.source,
            text=source_flags.shown(self.text),
            codec=next(
                (sink.codec for sink in self.sinks if isinstance(sink, (VideoSink, SegmentSink))), None
            ),
            extra=self.extra,
            boxes=boxes,
            max_frames=args.max_frames,
        )


def _ways(
    args: argparse.Namespace, sources: Sequence[FrameSource], names: tuple[str, ...], options: SaveOptions
) -> list[_Way]:
    """Each source with its tracker and the sinks that belong to it."""
    from edgestill.demo.pipeline import file_sink, stream  # noqa: PLC0415
    from runtime.streams.source_names import source_names  # noqa: PLC0415

    ways = []
    short = source_names(args.source)
    for own, source, name in zip(
        outputs.arguments_by_source(args, sources, short), sources, short, strict=True
    ):
        extra = saving.extra_sinks(own, source, names)
        sinks: list[Sink] = [*extra.sinks()]
        if own.save is not None:
            limits = {"max_frames": args.max_frames, "force": args.force, "others": args.source}
            sinks.append(file_sink(own.save, source, own.source, options=options, **limits))
        made = stream(source, name, classes=names, track=args.track, sinks=sinks)
        ways.append(_Way(text=own.source, source=source, stream=made, extra=extra, sinks=sinks, names=names))
    return ways


def _detector_options(args: argparse.Namespace) -> dict[str, Any]:
    names = ("backend", "device", "conf", "iou", "threads", "trust_engine")
    return {**{name: getattr(args, name) for name in names}, "input_hw": sizes.chosen(args)}


def _check(args: argparse.Namespace) -> None:
    for name in ("conf", "iou"):
        if not 0 <= getattr(args, name) <= 1:
            raise UsageError(f"--{name} is {getattr(args, name)}", hint="use a number from 0 to 1")
    for name in ("max_frames", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {value}", hint="use 1 or more")


def _shared_sinks(args: argparse.Namespace, ways: Sequence[_Way], names: tuple[str, ...]) -> list[Sink]:
    """The sinks that get the results of all sources."""
    from runtime.sinks.jsonlines import JsonLines  # noqa: PLC0415
    from runtime.sinks.service_manager import service_manager  # noqa: PLC0415
    from runtime.sinks.window import WindowSink  # noqa: PLC0415

    sinks: list[Sink] = []
    if args.json_lines:
        sinks.append(JsonLines(sys.stdout, names))
    if args.show:
        sinks.append(WindowSink([way.stream.name for way in ways]))
    manager = service_manager()
    if manager is not None:  # last, as it tells that a frame was processed
        sinks.append(manager)
    return sinks


def _run(pipeline: Pipeline, streams: Sequence[Stream], args: argparse.Namespace) -> RunEnd:
    from edgestill.progress import progress, say  # noqa: PLC0415

    ends = [
        min((n for n in (stream.source.total, args.max_frames) if n is not None), default=None)
        for stream in streams
    ]
    known = [n for n in ends if n is not None]
    if len(known) < len(ends):
        say(f"{', '.join(stream.name for stream in streams)}: running until interrupted (Ctrl-C)")
        return pipeline.run(streams, max_frames=args.max_frames)
    with progress("run", sum(known)) as advance:
        return pipeline.run(streams, max_frames=args.max_frames, advance=advance)
