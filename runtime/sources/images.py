"""Image files: one, a folder, or a glob pattern; sorted by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from glob import escape, glob, has_magic
from pathlib import Path
from time import perf_counter
from types import MappingProxyType

from edgestill.dataset import IMAGE_SUFFIXES, read_image
from edgestill.dataset_files.image_folder import is_hidden
from edgestill.errors import DataError, UsageError
from runtime.decoders.path_choice import OPENCV
from runtime.frames import Frame
from runtime.sources._address import Address
from runtime.sources._missing import IMAGES_END_IN, missing_source, no_images, refuse_model
from runtime.sources._reading import Reading

FPS = 25.0  # nominal: tracking needs a time, and images have none


class ImageFiles:
    """A list of image files; see ``runtime.frames.FrameSource``.

    Attributes:
        paths: The files, in order.
        names: For each its path below the folder that all have in common, with ``/``: unique.
    """

    is_live = False
    fps: float | None = None
    dropped = 0
    drops: Mapping[str, int] = MappingProxyType({})
    decoder = "OpenCV (images)"
    doubts: tuple[str, ...] = ()
    broke_off: str | None = None

    def __init__(self, paths: list[Path]) -> None:
        self.paths = tuple(paths)
        full = [path.absolute() for path in paths]
        common = Path(os.path.commonpath([path.parent for path in full]))
        # Not Path.relative_to: below "//", which is a root of its own to it, nothing is below "/".
        self.names = tuple(Path(os.path.relpath(path, common)).as_posix() for path in full)
        self.total: int | None = len(paths)

    def frames(self) -> Iterator[Frame]:
        """Yield one frame for each file; DataError for a file that cannot be read."""
        for index, (path, name) in enumerate(zip(self.paths, self.names, strict=True)):
            start = perf_counter()
            image = read_image(path)
            captured_s = perf_counter()
            yield Frame(
                image_bgr=image,
                index=index,
                captured_s=captured_s,
                name=name,
                decode_ms=(captured_s - start) * 1e3,
                time_s=index / FPS,
            )

    def close(self) -> None:
        """Do nothing: no file is open between two frames."""


def open_frames(address: Address, reading: Reading) -> ImageFiles:
    """List the images of a source; see ``image_files``.

    Raises:
        UsageError: A decoder of videos was asked for.
        DataError: There are none.
    """
    if reading.decoder not in {None, OPENCV}:
        raise UsageError(f"--decoder {reading.decoder} does not read images", hint="leave --decoder away")
    return image_files(address.target)


def image_files(text: str) -> ImageFiles:
    """List the images of a path, folder or glob pattern; hidden files only if one is named itself.

    Raises:
        DataError: There are none.
    """
    path = Path(text)
    if path.is_file():
        return ImageFiles([path])
    if path.is_dir():
        images = _images(p for p in path.iterdir() if not is_hidden(p.name))
        if not images:
            refuse_model(path)
            raise no_images(path)
        return ImageFiles(images)
    if not has_magic(text):
        raise missing_source(text)
    found = _matches(_literal_first(text))
    images = _images(found)
    if not images:
        what = f"{len(found)} files, none of them an image" if found else "nothing"
        raise DataError(f"{text} does not exist, and as a pattern matches {what}", hint=IMAGES_END_IN)
    return ImageFiles(images)


def _images(found: Iterator[Path] | list[Path]) -> list[Path]:
    """The images among some files, each once, sorted."""
    clean = {Path(os.path.normpath(p)) for p in found}
    return sorted(p for p in clean if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def _literal_first(text: str) -> str:
    """A pattern in which folders that exist under their literal name, as ``clips[1]``, match only that."""
    parts = Path(text).parts
    literal = [
        escape(part) if i + 1 < len(parts) and Path(*parts[: i + 1]).is_dir() else part
        for i, part in enumerate(parts)
    ]
    return str(Path(*literal))


def _matches(pattern: str) -> list[Path]:
    """The files that a glob pattern matches, without those whose matched part is hidden."""
    paths = [Path(name) for name in glob(pattern, recursive=True)]  # noqa: PTH207 (takes absolute patterns)
    parts = Path(pattern).parts
    written = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), 0)
    return [
        path for path in paths if not any(is_hidden(part) for part in path.parts[written:] if part != "..")
    ]
