"""The name of a recording while it is written: a visible file beside its target, which plays at any time."""

from __future__ import annotations

import os
from pathlib import Path

from edgestill.errors import UsageError
from edgestill.files import MAX_NAME_BYTES, shortened
from edgestill.progress import say


class PartFile:
    """Writes ``drive.part.mp4`` and renames it to ``drive.mp4``.

    A process that is killed leaves the part file. It is never written over: the next recording tells about it
    and takes the next free name, ``drive.part2.mp4``.

    Args:
        target: The final name; its folder is created.

    Attributes:
        path: Name while it is written. The file exists and is empty.
    """

    def __init__(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self._target = target
        left = []
        number = 1
        while True:
            self.path = part_name(target, number)
            try:
                self.path.touch(exist_ok=False)
                break
            except FileExistsError:
                left.append(self.path)
                number += 1
        if left:
            names = ", ".join(str(path) for path in left)
            say(f"{names}: left by a recording that was killed or is still running; it is kept, rename it")

    def finish(self) -> Path:
        """Rename the part to the target, replacing an older file."""
        self.path.replace(self._target)
        return self._target

    def keep(self) -> Path:
        """Keep the part: under the target's name, or under its own if there is an older file."""
        return self.path if self._target.exists() else self.finish()

    def is_empty(self) -> bool:
        """Whether nothing was written."""
        return self.path.stat().st_size == 0

    def discard(self) -> None:
        """Remove the part."""
        self.path.unlink(missing_ok=True)


def part_name(target: Path, number: int = 1) -> Path:
    """The name of a target while it is written: ``drive.part.mp4``, the second ``drive.part2.mp4``."""
    end = f".part{number if number > 1 else ''}{target.suffix}"
    stem = target.name.removesuffix(target.suffix)
    return target.with_name(shortened(stem, MAX_NAME_BYTES - len(os.fsencode(end))) + end)


def write_error(path: Path, error: OSError) -> UsageError:
    """The error for a file that cannot be written any further, as on a full disk."""
    what = os.strerror(error.errno) if error.errno else str(error)
    return UsageError(f"{path}: {what}", hint="check the free space, the quota and the permissions")
