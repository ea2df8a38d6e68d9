"""Short names of sources, for results, files and windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from urllib.parse import urlsplit


def source_names(texts: Sequence[str]) -> tuple[str, ...]:
    """A short name for each argument of ``--source``; no two are the same, also where case does not count.

    ``drive.mp4`` for a file, ``frames`` for a folder or a glob in it, ``camera0`` for a number, ``csi0`` for
    ``csi://0``, ``video0`` for ``v4l2:///dev/video0``, the host for a network camera, without user and
    password. A name that another source has too gets a number: ``drive-2.mp4``.
    """
    return numbered([_name(text) for text in texts])


def numbered(names: Sequence[str]) -> tuple[str, ...]:
    """The names, with a number before the suffix of those that were there already."""
    taken: set[str] = set()
    different: list[str] = []
    for name in names:
        path = PurePath(name)
        free, number = name, 1
        while free.casefold() in taken:
            number += 1
            free = f"{path.stem}-{number}{path.suffix}"
        taken.add(free.casefold())
        different.append(free)
    return tuple(different)


def _name(text: str) -> str:
    if text.isdecimal():
        return f"camera{text}"
    scheme, separator, rest = text.partition("://")
    if separator:
        return _name_of_url(scheme, rest)
    path = Path(text)
    if not path.exists():  # a glob: the folder that it begins with
        path = Path(*(part for part in path.parts if not set(part) & set("*?[")))
    return path.name or "source"


def _name_of_url(scheme: str, rest: str) -> str:
    place = rest.partition("?")[0]
    if scheme == "v4l2":
        return PurePath(place).name or scheme
    if scheme in {"rtsp", "rtsps", "http", "https"}:
        try:
            return urlsplit(f"//{rest}").hostname or scheme
        except ValueError:  # as of a bracket that is never closed; opening it says what is wrong
            return scheme
    return f"{scheme}{place}" if place.isalnum() else scheme
