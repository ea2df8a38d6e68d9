"""Decoded and scaled images on disk, for data sets that do not fit into memory.

Any number of processes and runs may share a folder. An entry is one file of raw pixels. Its name is a hash of
the path, size and modification time of the image file, the input size, and the version of the decoder. So a
changed image gets a new entry, and entries never have to be invalidated. An entry is written to a temporary
name and renamed; a checksum detects corruption. Cache errors never fail a training: an entry that cannot be
read is decoded again, and one that cannot be written is not cached.
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

SUFFIX, PARTIAL_SUFFIX = ".bgr", ".part"
MAGIC = b"edgebgr2"
HEADER = struct.Struct("<8s4II")  # magic; height, width; height and width of the source; checksum
SPARE_MIB = 1024  # of the disk that stay free, for checkpoints
RECOUNT_MIB = 256  # written by this process, after which the entries of all processes are counted again
ABANDONED_NS = 3600 * 10**9  # a partial file older than this has no writer any more


@dataclass(frozen=True, slots=True, eq=False)
class ScaledImage:
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

    Entries beyond the budget are not written, and entries in use are not evicted: images are read in epochs,
    so a least-recently-used cache that is too small would never hit. Entries that no run has used since this
    cache was opened are evicted. Each of several processes that write at once may overshoot the budget by
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
        """The name of an image's entry for the current state of the file; None if there is no such file."""
        try:
            found = image.stat()
        except OSError:
            return None
        source = str(image.absolute()), found.st_size, found.st_mtime_ns
        made_of = (*source, input_hw, MAGIC, cv2.__version__)
        return blake2b(repr(made_of).encode(), digest_size=16).hexdigest()

    def mark_used(self, keys: Iterable[str | None]) -> int:
        """Mark entries as in use; gives the number of existing ones."""
        there = 0
        for key in keys:
            with suppress(OSError):
                if key:
                    os.utime(self._entry_path(key))
                    there += 1
        return there

    def get(self, key: str) -> ScaledImage | None:
        """An entry; None if it is missing or corrupt."""
        try:
            with self._entry_path(key).open("rb", buffering=0) as stream:
                magic, height, width, *source_hw, check = HEADER.unpack(stream.read(HEADER.size))
                size = os.fstat(stream.fileno()).st_size
                if magic != MAGIC or size != HEADER.size + height * width * 3:
                    return None
                image = np.empty((height, width, 3), np.uint8)
                if stream.readinto(image.data) != image.nbytes:
                    return None
        except (OSError, struct.error):
            return None
        found = ScaledImage(image, (source_hw[0], source_hw[1]))
        return found if check == _checksum(found) else None

    def put(self, key: str, made: ScaledImage) -> None:
        """Write an entry if the budget allows."""
        size = HEADER.size + made.image_bgr.nbytes
        with self._lock:
            if not self._writes or not self._has_room(size):
                return
            self._used += size
            self._uncounted += size
        try:
            self._write(self._entry_path(key), made)
        except OSError as error:
            with self._lock:
                self._stop(f"cannot be written: {error.strerror or error}")

    def _entry_path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}{SUFFIX}"  # 256 folders: one with 41,000 files is slow to list

    def _write(self, path: Path, made: ScaledImage) -> None:
        path.parent.mkdir(exist_ok=True)
        # A random name: threads, processes and machines that share the folder may write the same entry.
        partial_path = path.with_name(f"{secrets.token_hex(8)}{PARTIAL_SUFFIX}")
        head = HEADER.pack(MAGIC, *made.image_bgr.shape[:2], *made.source_hw, _checksum(made))
        try:
            with partial_path.open("wb", buffering=0) as stream:
                stream.write(head)
                if stream.write(np.ascontiguousarray(made.image_bgr).data) != made.image_bgr.nbytes:
                    raise OSError("only a part of it was written")
            partial_path.replace(path)
        finally:
            partial_path.unlink(missing_ok=True)

    def _open(self) -> None:
        """Create the folder, read its clock, remove partial files of killed writers, count the entries."""
        self._folder.mkdir(parents=True, exist_ok=True)
        mark = self._folder / f"{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
        mark.touch()
        self._opened_ns = mark.stat().st_mtime_ns
        mark.unlink()
        for partial_path in self._folder.rglob(f"*{PARTIAL_SUFFIX}"):
            with suppress(OSError):
                if partial_path.stat().st_mtime_ns < self._opened_ns - ABANDONED_NS:
                    partial_path.unlink()
        self._used = sum(size for size, _, _ in self._entries())

    def _entries(self) -> Iterator[tuple[int, int, str]]:
        """Bytes, time of last use and path of each entry."""
        for shard in os.scandir(self._folder):
            if len(shard.name) == 2 and shard.is_dir():
                for entry in os.scandir(shard):
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
        """Evict entries unused since this cache was opened, oldest first: a 16th of the budget."""
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
        """Stop writing, and log why."""
        if self._writes:
            self._writes = False
            say(f"the disk cache {self._folder} {why}; images that are not in it are decoded at every access")


def _checksum(image: ScaledImage) -> int:
    head = struct.pack("<4I", *image.image_bgr.shape[:2], *image.source_hw)
    return zlib.crc32(np.ascontiguousarray(image.image_bgr).data, zlib.crc32(head))
