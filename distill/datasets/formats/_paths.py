"""Paths in label files, and the images that they lead to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from distill.datasets.formats._records import UnusableError

NO_IMAGES = frozenset({"@eadir", "__macosx", "#recycle", "$recycle.bin"})  # folders of systems and of a NAS
NAME_BYTES = 255  # of a file name, in every common file system
DRIVE = re.compile(r"^[A-Za-z]:(?=[\\/])")


def is_hidden(path: Path, root: Path) -> bool:
    """Whether ``path`` is a hidden file or lies in a hidden folder below ``root``."""
    parts = path.relative_to(root).parts
    return any(part.startswith(".") or part.casefold() in NO_IMAGES for part in parts)


def walk(root: Path, pattern: str) -> list[Path]:
    """Files below ``root`` by name, sorted, without hidden ones (``._x.jpg``, ``.ipynb_checkpoints``)."""
    return sorted(path for path in root.rglob(pattern) if not is_hidden(path, root) and path.is_file())


def find(root: Path, pattern: str, depth: int = 3) -> list[Path]:
    """Files of that name up to ``depth`` folders deep, without a full walk of large image folders."""
    found = (path for level in range(depth + 1) for path in root.glob("*/" * level + pattern))
    return sorted(path for path in found if not is_hidden(path, root) and path.is_file())


def tail(path: object, parts: int) -> PurePosixPath:
    """The last ``parts`` of a path from another machine, with either kind of slash.

    Raises:
        UnusableError: It has fewer, or they leave the folder that they are resolved in.
    """
    found = PurePosixPath(str(path).strip().replace("\\", "/")).parts[-parts:]
    if len(found) < parts:
        raise UnusableError("the path of the image is too short")
    return _inside(PurePosixPath(*found))


def relative(path: object) -> PurePosixPath:
    """A path that stays in the folder that it is resolved in.

    Raises:
        UnusableError: It is empty, absolute or leaves the folder.
    """
    return _inside(PurePosixPath(str(path).strip().replace("\\", "/")))


def _inside(path: PurePosixPath) -> PurePosixPath:
    if not path.name or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise UnusableError("the path of the image leads out of the data set")
    return _storable(path)


def _storable(path: PurePosixPath) -> PurePosixPath:
    """``path`` if a file can have that name."""
    try:
        lengths = [len(part.encode()) for part in path.parts]
    except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can hold
        raise UnusableError("its file name is not text") from error
    if max(lengths) > NAME_BYTES or "\0" in str(path):
        raise UnusableError("its file name is none that a file can have")
    return path


def listed(name: Any) -> PurePosixPath:
    """A file name of a label file without what is of another machine: drive, root, ``..``, address of a host.

    Raises:
        UnusableError: It names no file.
    """
    if not isinstance(name, str):
        raise UnusableError("its file name is not text")
    text = unquote(urlsplit(name.strip()).path) if "://" in name else DRIVE.sub("", name.strip())
    parts = [part for part in text.replace("\\", "/").split("/") if part not in {"", "."}]
    while ".." in parts:
        parts = parts[parts.index("..") + 1 :]
    if not parts:
        raise UnusableError("its file name is empty")
    return _storable(PurePosixPath(*parts))


def name_of(source: str, *parts: str) -> str:
    """A file name: the source, ``_``, and the parts that identify an image."""
    return "_".join(re.sub(r"[^\w.+-]+", "-", part) for part in (source, *parts) if part)


def sequence_by(pattern: re.Pattern[str] | None, stem: str) -> str:
    """The sequence in a file name: the first group of a pattern, or its whole match."""
    match = pattern.search(stem) if pattern else None
    if match is None:
        return stem
    return match.group(1) if match.re.groups else match.group()


class ImageFinder:
    """Finds images by the names that label files give them.

    A name is looked for as it is, then without its first folders (an export names ``images/x.jpg``, and the
    person names the folder ``images``), then without regard to case (``x.JPG``).

    Args:
        folders: Where the images may lie, the most likely first.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(dict.fromkeys(folders))
        self._names: dict[Path, dict[str, str]] = {}
        self._only_whole = False

    def learn(self, names: Iterable[PurePosixPath]) -> None:
        """Look for names only as they are if one of ``names`` leads to an image with its folders.

        ``val/1.jpg`` that is missing is then not taken for another ``1.jpg``.
        """
        with_folders = (name for name in names if len(name.parts) > 1)
        self._only_whole = any((folder / name).is_file() for name in with_folders for folder in self._folders)

    def find(self, *names: PurePosixPath) -> tuple[Path, PurePosixPath]:
        """The image of the first name that leads to one, and the part of the name that was found.

        The path does not exist where no name leads to an image.
        """
        for name in self._candidates(names):
            # COCO has 118,287 images: try the folder of the last one first.
            for i, folder in enumerate(self._folders):
                if (folder / name).is_file():
                    self._folders.insert(0, self._folders.pop(i))
                    return folder / name, name
        for name in self._candidates(names):
            for folder in self._folders:
                actual = self._listing(folder / name.parent).get(name.name.casefold())
                if actual is not None:
                    return folder / name.with_name(actual), name
        return self._folders[0] / names[0], names[0]

    def _candidates(self, names: Sequence[PurePosixPath]) -> Iterator[PurePosixPath]:
        for name in names:
            yield name
            if not self._only_whole:
                yield from (PurePosixPath(*name.parts[i:]) for i in range(1, len(name.parts)))

    def _listing(self, folder: Path) -> dict[str, str]:
        """File names of a folder by their casefolded form; names that differ only in case are left out."""
        if folder not in self._names:
            names: dict[str, str] = {}
            paths = sorted(folder.iterdir()) if folder.is_dir() else []
            for path in paths:
                key = path.name.casefold()
                names[key] = "" if key in names else path.name
            self._names[folder] = {key: name for key, name in names.items() if name}
        return self._names[folder]
