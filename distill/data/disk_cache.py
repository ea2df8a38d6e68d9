"""Decoded and scaled images on disk, for data sets that memory does not hold.

Any number of processes and runs may share a folder. An entry is one file of plain pixels, named by what it
was made of: path, length and time of the image file, the input size that it was scaled for, and the version
of the decoder. So a changed image is decoded anew, and no entry ever has to be declared invalid. It is
written to a name of its own and renamed; a checksum finds what a crash or a bad disk left of it. Nothing here
can make a training fail: what cannot be read is decoded again, what cannot be written is not kept.
"""

from __future__ import annotations

import os
import secrets
import shutil
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.cache import cache_root
from edgestill.progress import say

SUFFIX, HALF_WRITTEN = ".bgr", ".part"
MAGIC = b"edgebgr1"
HEADER = struct.Struct(
    "<8s4II"
)  # magic; height, width; height and width of the source; checksum of all of it
SPARE_MIB = 1024  # of the disk that are left free, for checkpoints
RECOUNT_MIB = 256  # after so much written, look what other processes wrote
ABANDONED_NS = 3600 * 10**9  # a half-written file of that age has no writer any more


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """An image at the scale of a network's input, without the letterbox's border.

    Attributes:
        image_bgr: uint8 ``[h, w, 3]``.
        source_hw: Height and width of the image file, pixels.
    """

    image_bgr: NDArray[np.uint8]
    source_hw: tuple[int, int]


def default_folder() -> Path:
    """Where the cache is unless a recipe says otherwise."""
    return cache_root() / "images"


class DiskCache:
    """A folder of scaled images that stays within a budget.

    What the budget does not hold is not kept, and nothing that a run uses is thrown out for it: images are
    visited in rounds, and a cache that replaces its oldest would never hit. What no run has used since this
    cache was opened makes room. Each of several processes that write at once may overshoot the budget by
    ``RECOUNT_MIB``.

    Args:
        folder: Of the cache. Created.
        mib: The budget.
        spare_mib: Free space of the disk below which nothing is written.
    """

    def __init__(self, folder: Path, mib: int, *, spare_mib: int = SPARE_MIB) -> None:
        self._folder = folder
        self._mib = mib
        self._spare_mib = spare_mib
        self._lock = Lock()
        self._used = self._uncounted = 0  # bytes
        self._opened_ns = 0
        self._writes = True
        try:
            self._open()
        except OSError as error:
            self._stop(f"cannot be written: {error.strerror or error}")

    def key(self, image: Path, input_hw: tuple[int, int]) -> str | None:
        """The name of an image's entry as the image file is now; None where there is no such file."""
        try:
            found = image.stat()
        except OSError:
            return None
        source = str(image.absolute()), found.st_size, found.st_mtime_ns
        made_of = (*source, input_hw, MAGIC, cv2.__version__)
        return blake2b(repr(made_of).encode(), digest_size=16).hexdigest()

    def adopt(self, keys: Iterable[str | None]) -> int:
        """Mark entries as in use; gives how many there are."""
        there = 0
        for key in keys:
            with suppress(OSError):
                if key:
                    os.utime(self._place(key))
                    there += 1
        return there

    def get(self, key: str) -> Scaled | None:
        """An entry; None where there is none, or none that is whole."""
        try:
            with self._place(key).open("rb", buffering=0) as stream:
                magic, height, width, *source_hw, check = HEADER.unpack(stream.read(HEADER.size))
                size = os.fstat(stream.fileno()).st_size
                if magic != MAGIC or size != HEADER.size + height * width * 3:
                    return None
                image = np.empty((height, width, 3), np.uint8)
                if stream.readinto(image.data) != image.nbytes:
                    return None
        except (OSError, struct.error):
            return None
        found = Scaled(image, (source_hw[0], source_hw[1]))
        return found if check == _checksum(found) else None

    def put(self, key: str, made: Scaled) -> None:
        """Keep an entry, if there is room."""
        size = HEADER.size + made.image_bgr.nbytes
        with self._lock:
            if not self._writes or not self._has_room(size):
                return
            self._used += size
            self._uncounted += size
        try:
            self._write(self._place(key), made)
        except OSError as error:
            with self._lock:
                self._stop(f"cannot be written: {error.strerror or error}")

    def _place(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}{SUFFIX}"  # 256 folders: one with 41,000 files is slow to list

    def _write(self, place: Path, made: Scaled) -> None:
        place.parent.mkdir(exist_ok=True)
        # A name of chance: threads, processes and machines that share the folder may write the same entry.
        half = place.with_name(f"{secrets.token_hex(8)}{HALF_WRITTEN}")
        head = HEADER.pack(MAGIC, *made.image_bgr.shape[:2], *made.source_hw, _checksum(made))
        try:
            with half.open("wb", buffering=0) as stream:
                stream.write(head)
                if stream.write(np.ascontiguousarray(made.image_bgr).data) != made.image_bgr.nbytes:
                    raise OSError("the disk took a part of it only")
            half.replace(place)
        finally:
            half.unlink(missing_ok=True)

    def _open(self) -> None:
        """Make the folder, take the time by its clock, remove what killed writers left, count."""
        self._folder.mkdir(parents=True, exist_ok=True)
        mark = self._folder / f"{secrets.token_hex(8)}{HALF_WRITTEN}"
        mark.touch()
        self._opened_ns = mark.stat().st_mtime_ns
        mark.unlink()
        for half in self._folder.rglob(f"*{HALF_WRITTEN}"):
            with suppress(OSError):
                if half.stat().st_mtime_ns < self._opened_ns - ABANDONED_NS:
                    half.unlink()
        self._used = sum(size for size, _, _ in self._entries())

    def _entries(self) -> Iterator[tuple[int, int, str]]:
        """Bytes, time of last use and path of each entry."""
        for shelf in os.scandir(self._folder):
            if len(shelf.name) == 2 and shelf.is_dir():
                for entry in os.scandir(shelf):
                    with suppress(OSError):  # another process may have removed it
                        if entry.name.endswith(SUFFIX):
                            found = entry.stat()
                            yield found.st_size, found.st_mtime_ns, entry.path

    def _has_room(self, size: int) -> bool:
        budget = self._mib * 2**20
        if self._uncounted > RECOUNT_MIB * 2**20:
            self._used, self._uncounted = sum(n for n, _, _ in self._entries()), 0
        if self._used + size > budget:
            self._make_room(size)
        if self._used + size > budget:
            self._stop(f"is full: disk_cache_mib = {self._mib}")
        elif shutil.disk_usage(self._folder).free < size + self._spare_mib * 2**20:
            self._stop(f"would leave less than {self._spare_mib} MiB of its disk free")
        return self._writes

    def _make_room(self, size: int) -> None:
        """Remove what no run has used since this cache was opened, oldest first: a 16th of the budget."""
        entries = sorted(self._entries(), key=lambda entry: entry[1])
        self._used, self._uncounted = sum(n for n, _, _ in entries), 0
        wanted = self._mib * 2**20 * 15 // 16 - size
        for bytes_, used_ns, path in entries:
            if used_ns >= self._opened_ns or self._used <= wanted:
                break
            with suppress(OSError):
                Path(path).unlink()
            self._used -= bytes_

    def _stop(self, why: str) -> None:
        """Write nothing more, and say so."""
        if self._writes:
            self._writes = False
            say(f"the disk cache {self._folder} {why}; what is not in it is decoded at every visit")


def _checksum(image: Scaled) -> int:
    head = struct.pack("<4I", *image.image_bgr.shape[:2], *image.source_hw)
    return zlib.crc32(np.ascontiguousarray(image.image_bgr).data, zlib.crc32(head))
