"""Where ``run`` writes what belongs to one source, if there are several."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgestill.errors import UsageError

if TYPE_CHECKING:
    from runtime.frames import FrameSource

#: Arguments that name a folder, in which each of several sources has one of its own.
FOLDERS = ("save_crops", "save_txt")


def arguments_by_source(
    args: argparse.Namespace, sources: Sequence[FrameSource], names: Sequence[str]
) -> list[argparse.Namespace]:
    """The arguments for each source: those of the command line, with its own places and its own text.

    ``--save DIR`` of several sources becomes ``DIR/NAME.mp4`` for a video or camera, ``DIR/NAME`` for an
    image, and a folder ``DIR/NAME`` for images, also those of ``--save-format``.

    Args:
        args: The command line.
        sources: The opened sources, in the order of ``--source``.
        names: Their short names.

    Raises:
        UsageError: ``--save`` names one file, and there are several sources.
    """
    if len(sources) == 1:
        return [argparse.Namespace(**{**vars(args), "source": args.source[0]})]
    from edgestill.files import safe_file_name  # noqa: PLC0415
    from runtime.streams.source_names import numbered  # noqa: PLC0415

    if args.save is not None and args.save.suffix and not args.save.is_dir():
        raise UsageError(
            f"--save {args.save} is one file, and there are {len(sources)} sources",
            hint=f"name a folder, which then has a file for each source: --save {args.save.with_suffix('')}",
        )
    own_names = numbered([safe_file_name(name) for name in names])
    files = numbered(
        [
            _file(source, name, as_images=args.save_format is not None)
            for source, name in zip(sources, own_names, strict=True)
        ]
    )
    found = []
    for text, file, name in zip(args.source, files, own_names, strict=True):
        places: dict[str, Path | None] = {"save": args.save and args.save / file}
        for folder in FOLDERS:
            place = getattr(args, folder)
            places[folder] = place and place / name
        found.append(argparse.Namespace(**{**vars(args), "source": text, **places}))
    return found


def _file(source: FrameSource, name: str, *, as_images: bool) -> str:
    """The name in ``--save DIR``."""
    if as_images:
        return name.replace(".", "_")
    if source.is_live or source.fps is not None:
        return f"{name if source.is_live else Path(name).stem}.mp4"
    return name if source.total == 1 else name.replace(".", "_")
