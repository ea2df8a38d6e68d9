"""Which files are the images of a folder or of a list, and which are no part of a data set."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from stat import S_ISDIR
from typing import Literal

from edgestill.dataset_files.image_file import IMAGE_SUFFIXES
from edgestill.errors import DataError
from edgestill.files import read_text

#: Folders and files that systems leave behind: Synology and QNAP, macOS archives, Windows, Linux.
OF_SYSTEMS = frozenset(
    {
        "@eadir",
        "@recycle",
        "@tmp",
        "#recycle",
        "#snapshot",
        "__macosx",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "thumbs.db",
        "desktop.ini",
    }
)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is no part of a data set: ``.ipynb_checkpoints``, ``._x.jpg``."""
    return name.startswith(".") or name.lower() in OF_SYSTEMS


def kind_of(path: Path) -> Literal["folder", "file", ""]:
    """What is at a path; nothing too if its name is too long or a folder above may not be entered."""
    try:
        return "folder" if S_ISDIR(path.stat().st_mode) else "file"
    except (OSError, ValueError):
        return ""


def files_under(folder: Path) -> Iterator[Path]:
    """The files in a folder and in those below it, without hidden ones, in no order."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in names:
            if not is_hidden(name):
                yield Path(root, name)


def images_under(folder: Path) -> list[Path]:
    """The image files in a folder and in those below it, without hidden ones, sorted by path."""
    return sorted(p for p in files_under(folder) if p.suffix.lower() in IMAGE_SUFFIXES)


def listed_images(listing: Path, root: Path) -> list[Path]:
    """The images that a text file names, a path a line, in their order.

    Args:
        listing: The file. A relative path is relative to its folder, as YOLOv5 reads ``./images/x.jpg``;
            where nothing is there, to ``root`` or to the working directory.
        root: The folder of the data set.

    Raises:
        DataError: It cannot be read, or images that it names are not there.
    """
    try:
        lines = read_text(listing).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{listing} cannot be read: {error}", hint="a list of images is plain text in UTF-8"
        ) from error
    entries = [entry for line in lines if (entry := line.strip()) and _is_image(entry)]
    found, missing = [], []
    for entry in entries:
        paths = [base / entry for base in (listing.parent, root, Path())]
        path = next((path for path in paths if kind_of(path) == "file"), None)
        found.append(path or paths[0])
        missing += [] if path else [entry]
    if missing:
        raise DataError(
            f"{listing} names {len(missing)} of {len(entries)} images that are not there, first {missing[0]}",
            hint=f"relative paths are relative to {listing.parent}",
        )
    return found


def _is_image(entry: str) -> bool:
    path = Path(entry)
    own: Iterable[str] = (path.name,) if path.is_absolute() else path.parts
    return path.suffix.lower() in IMAGE_SUFFIXES and not any(is_hidden(part) for part in own if part != "..")
