"""The archive of a bundle: written the same for the same files, read without trust.

Only regular files in plain ustar headers are written and read. Python's ``tarfile`` module parses the blocks
of headers; it does not unpack, since its extended headers allow links, devices and sizes without limit.

Source of the format: POSIX.1-1988 ustar, https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from edgestill.errors import ArtifactError, missing_library
from edgestill.files import replacing
from export.bundle.contents import MAX_BYTES, MAX_FILES, RUNNER, SUFFIXES, is_plain_name

BLOCK = tarfile.BLOCKSIZE
LEVEL = 9  # of Zstandard: wheels are compressed already, models hardly shrink further from here on
MAX_WINDOW = 1 << 27  # bytes of memory that a decompressor may need; what the zstd program allows by default
MTIME = 315532800  # 1980-01-01, the oldest time of a ZIP file: some tools warn of older ones
CHUNK = 1 << 20
COPY_AGAIN = "copy the file again, or write the bundle again"
#: Name, size, and content in pieces, to be read before the next entry.
Entry = tuple[str, int, Iterator[bytes]]
#: Name and content of files to write.
Entries = list[tuple[str, Path | bytes]]

_ZEROS = bytes(BLOCK)


def is_compressed(path: Path) -> bool:
    """Whether a bundle of this name is compressed with Zstandard."""
    return path.name.endswith(SUFFIXES[0])


def mode_of(name: str) -> int:
    """Permissions of a file of a bundle."""
    return 0o755 if name == RUNNER else 0o644


def write_archive(out: Path, files: Entries, *, force: bool) -> None:
    """Write an archive: same files and same version of the compressor, same bytes.

    Args:
        out: ``FILE.tar.zst`` or ``FILE.tar``; written under a temporary name.
        files: Name and content of each, in the order of the archive.
        force: Whether an existing file may be replaced.

    Raises:
        DeviceError: Zstandard is needed and not installed.
        UsageError: The file exists and ``force`` is false.
    """
    contents = [(name, content, _size(content)) for name, content in files]
    used = sum(BLOCK + _padded(size) for _, _, size in contents)
    total = _whole(used)
    with (
        replacing(out, force=force) as temporary,
        temporary.open("wb") as raw,
        _writer(out, raw, total) as stream,
    ):
        for name, content, size in contents:
            stream.write(_header(name, size))
            _copy(content, stream)
            stream.write(bytes(_padded(size) - size))
        stream.write(bytes(total - used))


@contextmanager
def open_tar(path: Path) -> Iterator[IO[bytes]]:
    """The uncompressed tar archive of a bundle as a stream: what a device without Zstandard can unpack.

    Raises:
        ArtifactError: The file is missing; in reading, ``zstandard`` raises ``ZstdError`` for a broken one.
        DeviceError: Zstandard is needed and not installed.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ArtifactError(f"{path} {what}", hint="name a bundle; `edgestill bundle` writes one")
    with path.open("rb") as raw:
        if not is_compressed(path):
            yield raw
            return
        reader = _zstandard().ZstdDecompressor(max_window_size=MAX_WINDOW)
        with reader.stream_reader(raw, read_across_frames=True) as stream:
            yield stream


def read_archive(path: Path) -> Iterator[Entry]:
    """The files of an archive in their order.

    Raises:
        ArtifactError: It is no such archive, truncated, has more than ``MAX_FILES`` files or ``MAX_BYTES``,
            or an entry that is no regular file with a plain name.
    """
    broken: tuple[type[Exception], ...] = (tarfile.HeaderError, UnicodeDecodeError)
    if is_compressed(path):
        broken = (*broken, _zstandard().ZstdError)
    try:
        with open_tar(path) as stream:
            yield from _entries(path, stream)
    except broken as error:
        raise ArtifactError(
            f"{path} is truncated, altered, or no bundle: {error}", hint=COPY_AGAIN
        ) from error


def _entries(path: Path, stream: IO[bytes]) -> Iterator[Entry]:
    names: set[str] = set()
    total = used = 0
    while (block := _exactly(path, stream, BLOCK)) != _ZEROS:
        header = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        _check_entry(path, header, names)
        names.add(header.name)
        total, used = total + header.size, used + BLOCK + _padded(header.size)
        if total > MAX_BYTES or len(names) > MAX_FILES:
            raise ArtifactError(
                f"{path} unpacks to more than {MAX_FILES} files or {MAX_BYTES >> 30} GiB",
                hint="it is no bundle of edgestill: do not open it",
            )
        content = _content(path, stream, header.size)
        yield header.name, header.size, content
        for _ in content:  # what the caller left
            pass
    ending = _exactly(path, stream, _whole(used) - used - BLOCK)
    if any(ending) or stream.read(1):
        raise ArtifactError(f"{path} goes on behind its end", hint=COPY_AGAIN)


def _check_entry(path: Path, header: tarfile.TarInfo, names: set[str]) -> None:
    hint = "it is no bundle of edgestill: do not open it"
    if header.type != tarfile.REGTYPE:
        raise ArtifactError(f"{path} has an entry {header.name!r} that is no regular file", hint=hint)
    if not is_plain_name(header.name):
        raise ArtifactError(f"{path} has an entry {header.name!r}, no plain relative name", hint=hint)
    if header.name in names:
        raise ArtifactError(f"{path} has two entries {header.name!r}", hint=hint)
    if header.size < 0:
        raise ArtifactError(f"{path} has an entry {header.name!r} of {header.size} bytes", hint=hint)


def _content(path: Path, stream: IO[bytes], size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = _exactly(path, stream, min(left, CHUNK))
        left -= len(piece)
        yield piece
    if any(_exactly(path, stream, _padded(size) - size)):
        raise ArtifactError(f"{path} has data between its files", hint=COPY_AGAIN)


def _exactly(path: Path, stream: IO[bytes], size: int) -> bytes:
    """So many bytes of a stream, or ArtifactError: it ended."""
    found = bytearray()
    while len(found) < size:
        piece = stream.read(size - len(found))
        if not piece:
            raise ArtifactError(f"{path} is truncated", hint=COPY_AGAIN)
        found += piece
    return bytes(found)


def _header(name: str, size: int) -> bytes:
    """The header of a file without anything of the machine that writes it."""
    header = tarfile.TarInfo(name)
    header.size, header.mtime = size, MTIME
    header.mode = mode_of(name)
    return header.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _whole(used: int) -> int:
    """Size of an archive: its files, two blocks of zeros, and zeros up to a whole record."""
    return -(-(used + 2 * BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _copy(content: Path | bytes, stream: IO[bytes]) -> None:
    if isinstance(content, bytes):
        stream.write(content)
        return
    with content.open("rb") as source:
        while piece := source.read(CHUNK):
            stream.write(piece)


@contextmanager
def _writer(out: Path, raw: IO[bytes], total: int) -> Iterator[IO[bytes]]:
    if not is_compressed(out):
        yield raw
        return
    # Without a checksum the file ends with content, so that a lost last byte is seen.
    compressor = _zstandard().ZstdCompressor(level=LEVEL, write_checksum=False)
    with compressor.stream_writer(raw, size=total, closefd=False) as stream:
        yield stream


def _zstandard() -> Any:
    try:
        import zstandard  # noqa: PLC0415 (not needed for .tar)
    except ImportError as error:
        raise missing_library("a .tar.zst file", error.name, "bundle") from error
    return zstandard
