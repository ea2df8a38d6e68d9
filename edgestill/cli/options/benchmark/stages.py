"""``--stages`` of ``bench``: which stages of a frame are measured."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edgestill.errors import UsageError

if TYPE_CHECKING:
    from benchmarks.measure.later_stages import AfterBoxes, MakeAfterBoxes


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the flag."""
    parser.add_argument(
        "--stages",
        default="boxes",
        choices=["boxes", "all"],
        help="boxes: from encoded frame to boxes (default); all: also tracking, drawing and encoding a "
        "video, as run has them, with --scenario single",
    )


def after_boxes(args: argparse.Namespace) -> MakeAfterBoxes | None:
    """What makes the parts of the stages after the boxes; None if they are not measured.

    Raises:
        UsageError: They are asked for in a scenario that does not measure them.
    """
    if args.stages == "boxes":
        return None
    if args.scenario != "single" or args.preset:
        raise UsageError(
            f"--stages all with {args.preset or args.scenario}: only single measures them",
            hint="leave --stages out, or measure with --scenario single",
        )
    return _parts


def _parts(classes: tuple[str, ...], title: str) -> AfterBoxes:
    """The tracker, the states and the overlay of ``edgestill run --track --save``."""
    from benchmarks.measure.later_stages import FPS, AfterBoxes  # noqa: PLC0415 (imports OpenCV)
    from edgestill.demo.lights import LightStates, are_lights  # noqa: PLC0415
    from edgestill.demo.overlay import FrameOverlay  # noqa: PLC0415
    from runtime.tracking import Tracker, TrackerSettings  # noqa: PLC0415

    has_states = are_lights(classes)
    return AfterBoxes(
        tracker=Tracker(TrackerSettings(by_class=not has_states), period_s=1 / FPS),
        track_classifier=LightStates(classes) if has_states else None,
        overlay=FrameOverlay(classes, title),
    )
