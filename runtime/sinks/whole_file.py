"""A file that an error, as of a full disk, leaves whole up to a mark."""

from __future__ import annotations

from pathlib import Path


class WholeFile:
    """A file that is written without a buffer. After an error it is cut to its last mark, and grows no more.

    What was written survives the process.

    Args:
        path: The file.
        append: Whether to write behind what the file holds; else it is emptied.
    """

    def __init__(self, path: Path, *, append: bool = False) -> None:
        self._file = path.open("ab" if append else "wb", buffering=0)
        self._whole = self._file.tell()
        self._failed: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write all of ``data``: a file system that is nearly full takes a part, and FFmpeg ignores that.

        Raises:
            OSError: The file system took no more, now or in an earlier call.
        """
        if self._failed is not None:
            raise self._failed
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._failed = error
            self._file.truncate(self._whole)
            raise
        return len(data)

    def recover(self) -> None:
        """Let the file grow again after an error, behind its mark."""
        self._failed = None

    def mark(self) -> None:
        """Note that the file is whole up to here."""
        if self._failed is None:
            self._whole = self._file.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to an offset, as of files; for FFmpeg."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The offset of the next write, bytes."""
        return self._file.tell()

    def fileno(self) -> int:
        """The file descriptor."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file.

        Raises:
            OSError: A write failed; FFmpeg tells no error of the last bytes.
        """
        self._file.close()
        if self._failed is not None:
            raise self._failed
