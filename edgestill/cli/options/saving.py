"""How ``run`` writes annotated frames, and what it writes beside them: crops, label files, events."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.errors import UsageError
from edgestill.files import resolved

if TYPE_CHECKING:
    from edgestill.demo.save_options import SaveOptions
    from runtime.frames import FrameSource
    from runtime.sinks.crop_writer import CropSink
    from runtime.sinks.events import EventSink
    from runtime.sinks.label_writer import LabelSink


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraSinks:
    """The sinks that were asked for.

    Attributes:
        crops: Of ``--save-crops``.
        labels: Of ``--save-txt``.
    """

    crops: CropSink | None
    labels: LabelSink | None

    def sinks(self) -> list[CropSink | LabelSink]:
        """Those that there are."""
        return [sink for sink in (self.crops, self.labels) if sink is not None]

    def to_json(self) -> dict[str, Any]:
        """Folder and number of files of each, after the run; None where it was not asked for."""
        return {
            name: None if sink is None else {"folder": str(sink.folder), "files": sink.written}
            for name, sink in (("crops", self.crops), ("label_files", self.labels))
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--save-format",
        choices=("png", "jpg"),
        help="with --save DIR: an image for each frame, also of a video or camera",
    )
    parser.add_argument(
        "--segment-minutes",
        type=float,
        metavar="N",
        help="with --save FILE.mp4: a new video every N minutes, as FILE-20260601T120000Z.mp4 (UTC)",
    )
    parser.add_argument(
        "--keep-gib",
        type=float,
        metavar="G",
        help="with --segment-minutes: remove the oldest segments above G GiB, or if the disk is nearly full",
    )
    parser.add_argument(
        "--strip",
        choices=("below", "off"),
        default="below",
        help="status strip below the annotated picture (default), or off: the size of the frame stays",
    )
    parser.add_argument(
        "--events",
        type=Path,
        metavar="FILE",
        help="with --track: a JSON line for each change of state of a light; --force appends for a camera",
    )
    parser.add_argument(
        "--save-crops",
        type=Path,
        metavar="DIR",
        help="write each detection as DIR/CLASS/NAME_FRAME_INDEX.jpg, cut from the frame",
    )
    parser.add_argument(
        "--save-txt",
        type=Path,
        metavar="DIR",
        help="write a YOLO label file for each image or frame: rows of class cx cy w h, normalised",
    )
    parser.add_argument(
        "--save-conf", action="store_true", help="with --save-txt: end each row with the score"
    )


def save_options(args: argparse.Namespace) -> SaveOptions:
    """How ``--save`` writes.

    Raises:
        UsageError: A flag has an impossible value, or needs one that is not there.
    """
    from edgestill.demo.save_options import SaveOptions  # noqa: PLC0415 (imports OpenCV)

    for name, needed in (
        ("save_format", "save"),
        ("segment_minutes", "save"),
        ("keep_gib", "segment_minutes"),
    ):
        flag, value = f"--{name.replace('_', '-')}", getattr(args, name)
        if value is None:
            continue
        if getattr(args, needed) is None:
            with_flag = "--save" if needed == "save" else "--segment-minutes"
            raise UsageError(f"{flag} is without {with_flag}", hint=f"add {with_flag}, or leave {flag} out")
        if isinstance(value, float) and not (value > 0 and math.isfinite(value)):
            raise UsageError(f"{flag} is {value:g}", hint="use a number above 0")
    if args.save_format is not None and args.segment_minutes is not None:
        raise UsageError(
            "--save-format writes images, --segment-minutes videos", hint="leave one of them out"
        )
    return SaveOptions(
        image_suffix=f".{args.save_format}" if args.save_format else None,
        segment_s=None if args.segment_minutes is None else args.segment_minutes * 60,
        keep_bytes=None if args.keep_gib is None else round(args.keep_gib * 2**30),
    )


def extra_sinks(args: argparse.Namespace, source: FrameSource, classes: Sequence[str]) -> ExtraSinks:
    """The sinks of the flags.

    Raises:
        UsageError: A folder is not empty, a file exists, or a flag needs one that is not there.
    """
    from runtime.sinks.crop_writer import CropSink  # noqa: PLC0415 (imports OpenCV)
    from runtime.sinks.label_writer import LabelSink  # noqa: PLC0415

    if args.save_conf and args.save_txt is None:
        raise UsageError("--save-conf is about the files of --save-txt", hint="add --save-txt DIR")
    is_numbered = source.is_live or source.fps is not None
    crops = labels = None
    if args.save_crops is not None:
        crops = CropSink(args.save_crops, classes, force=args.force)
    if args.save_txt is not None:
        labels = LabelSink(
            args.save_txt, is_numbered=is_numbered, with_score=args.save_conf, force=args.force
        )
    return ExtraSinks(crops=crops, labels=labels)


def event_sink(args: argparse.Namespace, classes: Sequence[str], *, is_live: bool) -> EventSink | None:
    """The sink of ``--events``, which all sources share; None if it was not given.

    Args:
        args: The command line.
        classes: Class names of the results.
        is_live: Whether one of the sources is a camera.

    Raises:
        UsageError: The file exists or is another of the run, or there are no states of lights.
    """
    from edgestill.demo.lights import are_lights  # noqa: PLC0415
    from runtime.sinks.events import EventSink  # noqa: PLC0415

    if args.events is None:
        return None
    if not args.track:
        raise UsageError("--events are changes of tracked lights", hint="add --track")
    if not are_lights(classes):
        hint = "add --lights to classify the traffic lights that it finds"
        raise UsageError(f"--events: the classes of {args.model} are no states of lights", hint=hint)
    others = [*map(Path, args.source), *([args.save] if args.save else [])]
    if resolved(args.events) in map(resolved, others):
        raise UsageError(
            f"--events {args.events} would overwrite another file of this run", hint="give another path"
        )
    return EventSink(args.events, force=args.force, is_live=is_live)
