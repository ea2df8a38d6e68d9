"""The list of the segments of a recording, in a file beside them: what may be removed, and in which order.

The list has the order in which segments were written. Neither names nor times of files decide what is older,
as the clock of a board may be wrong, and a file that is not in the list is never touched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from contextlib import suppress
from datetime import timezone
from pathlib import Path
from typing import Any

from edgestill.errors import UsageError
from edgestill.files import MAX_NAME_BYTES, shortened, to_json_text
from edgestill.progress import say
from runtime.sinks.part_file import part_name
from runtime.sinks.wall_clock import Clock
from runtime.sinks.whole_file import WholeFile

STAMP = "%Y%m%dT%H%M%SZ"
LIST_SUFFIX = ".segments.jsonl"
LONGEST_END = "-20260101T000000Z_99999.part99.segments.jsonl"  # of a name, behind the stem
#: Space that older segments leave to the running one and to other programs: at most so many bytes, and at
#: most this share of a small disk.
RESERVE_BYTES, RESERVE_SHARE = 256 << 20, 0.05


class SegmentList:
    """The segments of one target, as ``drive-20260601T120000Z.mp4`` of ``drive.mp4``, oldest first.

    Each line of the list is an object: ``file``, and ``bytes`` once it is complete or ``removed``. A segment
    that a killed process left gets its name when the list is opened again.

    Args:
        target: The name that segments are made of; its folder exists.
        clock: The present time, for names only.

    Attributes:
        path: The list.
        removed: Number of segments that were removed.

    Raises:
        UsageError: Another process records segments of this target.
        OSError: The list cannot be read or written.
    """

    def __init__(self, target: Path, clock: Clock) -> None:
        self._folder, self._suffix, self._clock = target.parent, target.suffix, clock
        self._stem = shortened(target.stem, MAX_NAME_BYTES - len(LONGEST_END))
        self.path = self._folder / f"{self._stem}{LIST_SUFFIX}"
        self.removed = 0
        self._running: Path | None = None
        self._sizes: dict[Path, int] = {}
        self._file = WholeFile(self.path, append=True)
        try:
            self._is_locked = self._lock(target)
            self._load()
        except BaseException:
            self._file.close()
            raise

    def begin(self) -> Path:
        """A new name, by the clock, which no file has; it is in the list before the file is there."""
        stamp = self._clock().astimezone(timezone.utc).strftime(STAMP)
        number = 1
        while True:
            end = f"_{number}" if number > 1 else ""  # sorts behind the first
            path = self._folder / f"{self._stem}-{stamp}{end}{self._suffix}"
            if path not in self._sizes and not (os.path.lexists(path) or os.path.lexists(part_name(path))):
                break
            number += 1
        self._append(path)
        self._running = path
        return path

    def finish(self) -> None:
        """Note that the segment of ``begin`` is complete, or that there is none."""
        path, self._running = self._running, None
        if path is None:
            return
        size = _size(path)
        if size is None:
            self._append(path, removed=True)
        else:
            self._sizes[path] = size
            with suppress(OSError):  # of a full disk: it is taken over when the list is opened again
                self._append(path, bytes=size)

    def files(self) -> tuple[Path, ...]:
        """The complete segments, oldest first, also of earlier runs."""
        return tuple(self._sizes)

    def make_room(self, most_bytes: int) -> None:
        """Remove the oldest segments until all have at most so many bytes, and the disk has some space left.

        The running one counts, and stays.

        Raises:
            OSError: One cannot be removed.
        """
        running = 0 if self._running is None else _size(part_name(self._running)) or 0
        while self._sizes and sum(self._sizes.values()) + running > most_bytes:
            self._remove(next(iter(self._sizes)))
        if self._sizes and self._is_full():  # one at a time: a file that is being played frees no space yet
            self._remove(next(iter(self._sizes)))

    def close(self) -> None:
        """Let other processes record segments of this target."""
        self._file.close()

    def _remove(self, path: Path) -> None:
        listed = self._sizes.pop(path)
        if _size(path) == listed:
            path.unlink(missing_ok=True)
            self.removed += 1
            with suppress(OSError):  # of a full disk; a file that is gone is left out when the list is read
                self._append(path, removed=True)
        elif _size(path) is not None:
            say(f"{path} is not the file that was recorded, and is kept")

    def _is_full(self) -> bool:
        disk = shutil.disk_usage(self._folder)
        return disk.free < min(RESERVE_BYTES, round(disk.total * RESERVE_SHARE))

    def _append(self, path: Path, **facts: Any) -> None:
        try:
            self._file.write(f"{to_json_text({'file': path.name, **facts}, indent=None)}\n".encode())
        except OSError:
            self._file.recover()
            raise
        self._file.mark()

    def _lock(self, target: Path) -> bool:
        """Lock the list; False where the system or the file system has no locks."""
        try:
            import fcntl  # noqa: PLC0415 (not on Windows)

            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            hint = "end that process, or give another name"
            raise UsageError(f"another process records segments of {target}", hint=hint) from error
        except (ImportError, OSError):
            return False
        return True

    def _load(self) -> None:
        """Read the list, and take over what a killed process left."""
        text = self.path.read_bytes().decode("utf-8", "replace")
        if text and not text.endswith("\n"):  # the power failed
            self._file.write(b"\n")
            self._file.mark()
        sizes: dict[Path, int | None] = {}
        for line in text.splitlines():
            entry = self._entry(line)
            if entry is None:
                continue
            path = self._folder / entry["file"]
            if entry.get("removed") is True:
                sizes.pop(path, None)
            else:
                size = entry.get("bytes")
                sizes[path] = size if isinstance(size, int) else None
        for path, size in sizes.items():
            if size is None:
                self._take_over(path)
            elif _size(path) == size:
                self._sizes[path] = size

    def _take_over(self, path: Path) -> None:
        """Give a segment that was not finished its name."""
        part = part_name(path)
        size = _size(part)
        if size is not None and self._is_locked and not os.path.lexists(path):
            if size == 0:
                part.unlink(missing_ok=True)
            else:
                part.rename(path)
                say(f"{path}: left by a recording that was killed; it is kept under this name")
        self._running = path
        self.finish()

    def _entry(self, line: str) -> dict[str, Any] | None:
        """A line that names a segment of this target; None for any other."""
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            return None
        name = entry.get("file") if isinstance(entry, dict) else None
        pattern = rf"{re.escape(self._stem)}-[0-9]{{8}}T[0-9]{{6}}Z(_[0-9]+)?{re.escape(self._suffix)}"
        return entry if isinstance(name, str) and re.fullmatch(pattern, name) else None


def _size(path: Path) -> int | None:
    """Size of a regular file, bytes; None for anything else."""
    try:
        about = path.lstat()
    except OSError:
        return None
    return about.st_size if stat.S_ISREG(about.st_mode) else None
