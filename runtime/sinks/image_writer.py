"""Annotated image files: a single one, or a folder with one for each image or frame."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.errors import UsageError
from edgestill.files import refuse_overwrite, write_bytes
from runtime.pipeline import FrameResult
from runtime.sinks.frame_names import frame_path, refuse_full


class ImageSink:
    """Writes each annotated frame to its own file; see ``runtime.pipeline.Sink``.

    Args:
        path: A file with an image suffix, or a folder.
        names: Names of all frames, below the folder; None if ``path`` is the file of a single frame.
        sources: The files that are read, none of which is written over.
        suffix: Of the files in a folder, with its dot; None for those of their names.
        force: Whether existing files are replaced.

    Raises:
        UsageError: A file exists and ``force`` is false, or is one of the sources.
    """

    needs_overlay = True

    def __init__(
        self,
        path: Path,
        *,
        names: Sequence[str] | None = None,
        sources: Sequence[Path] = (),
        suffix: str | None = None,
        force: bool,
    ) -> None:
        self._path, self._force = path, force
        self._targets = None if names is None else _targets(path, names, suffix)
        self._files: list[Path] = []
        targets = [path] if self._targets is None else list(self._targets.values())
        _refuse_sources(targets, sources)
        for target in targets:
            refuse_overwrite(target, force=force)

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Encode and write one annotated frame."""
        target = self._path if self._targets is None else self._targets[result.frame.name]
        write_bytes(target, _encoded(image_bgr, target.suffix), force=self._force)
        self._files.append(target)
        return True

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """The files written so far; each is complete, so an interrupted run keeps them."""
        return tuple(self._files)


class FrameFolderSink:
    """Writes each annotated frame of a video or camera as ``FOLDER/NAME_000012.png``; see ``Sink``.

    Args:
        folder: Absent, empty, or any with ``force``.
        suffix: Of the files, with its dot, as ``.png``.
        force: Whether existing files are replaced.

    Raises:
        UsageError: The folder is not empty and ``force`` is false.
    """

    needs_overlay = True

    def __init__(self, folder: Path, suffix: str, *, force: bool) -> None:
        refuse_full(folder, force=force)
        self._folder, self._suffix = folder, suffix
        self._written = 0

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Encode and write one annotated frame."""
        name = frame_path(result.frame, is_numbered=True)
        path = self._folder / name.with_name(f"{name.name}{self._suffix}")
        write_bytes(path, _encoded(image_bgr, self._suffix))
        self._written += 1
        return True

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """The folder, if it has frames: a list of the files of a camera would grow without end."""
        return (self._folder,) if self._written else ()


def _encoded(image_bgr: NDArray[np.uint8], suffix: str) -> bytes:
    good, data = cv2.imencode(suffix, image_bgr)
    if not good:
        raise ValueError(f"OpenCV cannot encode {suffix}")
    return bytes(data)


def _targets(folder: Path, names: Sequence[str], suffix: str | None) -> dict[str, Path]:
    """The file of each frame by its name: different also where upper and lower case are not."""
    taken: set[str] = set()
    targets = {}
    for name in names:
        first = folder / name if suffix is None else (folder / name).with_suffix(suffix)
        target, number = first, 1
        while (same := unicodedata.normalize("NFC", str(target)).casefold()) in taken:
            number += 1
            target = first.with_stem(f"{Path(name).stem}-{number}")
        taken.add(same)
        targets[name] = target
    return targets


def _refuse_sources(targets: Sequence[Path], sources: Sequence[Path]) -> None:
    """Raise UsageError if a target is a source file, by whatever name."""
    read = {(about.st_dev, about.st_ino) for about in (path.stat() for path in sources if path.exists())}
    for target in targets:
        if target.exists() and (target.stat().st_dev, target.stat().st_ino) in read:
            raise UsageError(f"--save would overwrite the source {target}", hint="give another path")
