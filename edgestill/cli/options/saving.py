"""``--save-crops`` and ``--save-txt``: what ``run`` writes beside the annotated frames."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.errors import UsageError

if TYPE_CHECKING:
    from runtime.frames import FrameSource
    from runtime.sinks.crop_writer import CropSink
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


def extra_sinks(args: argparse.Namespace, source: FrameSource, classes: Sequence[str]) -> ExtraSinks:
    """The sinks of the flags.

    Raises:
        UsageError: A folder is not empty, or ``--save-conf`` is without ``--save-txt``.
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
