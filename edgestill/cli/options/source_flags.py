"""``--retry`` and ``--decoder``: how ``run`` reads its source."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from edgestill.errors import UsageError

if TYPE_CHECKING:
    from runtime.frames import FrameSource

SOURCE = "image, folder, glob, video, camera number, csi://N, v4l2:///dev/videoN, rtsp://..., http://..., gst://PIPELINE"
#: As ``runtime.decoders.path_choice.DECODERS``, which a parser should not import.
DECODERS = ("pyav", "opencv", "gstreamer")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--retry",
        type=int,
        metavar="N",
        help="attempts to open a camera again after it was gone, and at the start; 0 for none "
        "(default: at the start none, later without limit)",
    )
    parser.add_argument(
        "--decoder",
        choices=DECODERS,
        help="what decodes videos and network cameras (default: the best there is)",
    )


def options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of ``runtime.frames.open_source``.

    Raises:
        UsageError: A number is negative.
    """
    if args.retry is not None and args.retry < 0:
        raise UsageError(f"--retry is {args.retry}", hint="use 0 or more")
    return {"retry": args.retry, "decoder": args.decoder}


def tell_decoder(source: FrameSource, text: str) -> None:
    """Say what decodes a video or camera, on stderr.

    Args:
        source: The opened source.
        text: The argument of ``--source``.
    """
    from edgestill.progress import say  # noqa: PLC0415

    if source.is_live or source.fps is not None:
        say(f"{shown(text)}: decoded by {source.decoder}")


def shown(text: str) -> str:
    """The argument of ``--source`` without passwords."""
    from runtime.decoders.redaction import without_secrets  # noqa: PLC0415

    return without_secrets(text)
