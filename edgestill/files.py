"""Atomic writes: a file is written under a temporary name beside its target, then renamed."""

import errno
import glob
import hashlib
import json
import os
import stat
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgestill.errors import DataError, UsageError

MAX_NAME_BYTES = 255  # of a file name in the file systems of Linux, macOS and, in UTF-16, Windows
HASH_DIGITS = 8
PID_DIGITS = 10
FORBIDDEN = frozenset('<>:"/\\|?*')  # in names of Windows
RESERVED = frozenset(
    {"CON", "PRN", "AUX", "NUL", *(f"{port}{k}" for port in ("COM", "LPT") for k in range(1, 10))}
)


@contextmanager
def replacing(path: Path, *, force: bool = True) -> Iterator[Path]:
    """Yield a temporary path; rename it to ``path`` when the block ends without an error, else remove it.

    Args:
        path: The final name. Its folder is created.
        force: Whether an existing file may be replaced.

    Raises:
        UsageError: The file exists and ``force`` is false.
    """
    refuse_overwrite(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # as of a write to a full disk
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """The temporary name of a file that is renamed to ``path`` when it is complete."""
    # The suffix stays last, because image, video and model writers choose their format by it.
    return path.with_name(f".{_temporary_stem(path)}.{os.getpid()}{path.suffix}")


def _temporary_stem(path: Path) -> str:
    """The stem of a file, shortened so that the dots, a process id and the suffix fit beside it."""
    return shortened(path.stem, MAX_NAME_BYTES - len(os.fsencode(path.suffix)) - len("..") - PID_DIGITS)


def shortened(stem: str, most: int) -> str:
    """A file name without suffix of at most ``most`` bytes; the end of a longer one becomes a hash of all."""
    data = os.fsencode(stem)
    if len(data) <= most:
        return stem
    digest = hashlib.sha256(data).hexdigest()[:HASH_DIGITS]
    return data[: most - HASH_DIGITS - 1].decode("utf-8", "ignore") + "-" + digest


def is_utf8(path: Path) -> bool:
    """Whether a path is UTF-8. OpenCV's video reader and writer crash with any other name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def safe_file_name(text: str, limit: int = 100) -> str:
    """A name of a file or folder, made of any text, that every common file system takes.

    Signs that some system forbids become ``_``; those that this one cannot encode, their numbers. A name that
    is too long keeps its beginning and gets a hash.

    Args:
        text: E.g. a class name.
        limit: Of the name in UTF-8, bytes.
    """
    whole = unicodedata.normalize("NFC", text)
    plain = "".join("_" if c in FORBIDDEN or unicodedata.category(c)[0] == "C" else c for c in whole).strip(
        " ."
    )
    encoding = sys.getfilesystemencoding()  # ASCII where the locale is C
    plain = plain.encode(encoding, "backslashreplace").decode(encoding).replace("\\", "_")
    if not plain or plain.partition(".")[0].upper() in RESERVED:
        plain = f"_{plain}"
    return shortened(plain, limit)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed writers of ``path`` left; no process may be writing it now."""
    for left in path.parent.glob(f".{glob.escape(_temporary_stem(path))}.*{glob.escape(path.suffix)}"):
        left.unlink(missing_ok=True)


def refuse_overwrite(path: Path, *, force: bool) -> None:
    """Raise UsageError if ``path`` exists and may not be replaced."""
    if path.exists() and not force:
        raise UsageError(f"{path} exists already", hint="choose another path, or add --force to overwrite it")


def write_bytes(path: Path, data: bytes, *, force: bool = True) -> None:
    """Write a file atomically, see ``replacing``."""
    with replacing(path, force=force) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any, *, force: bool = True) -> None:
    """Write a value as indented JSON, atomically; for its types see ``to_json_text``."""
    write_bytes(path, (to_json_text(value) + "\n").encode(), force=force)


def to_json_text(value: Any, *, indent: int | None = 2) -> str:
    """JSON text of plain values, dataclasses, paths and NumPy scalars and arrays."""
    return json.dumps(value, indent=indent, default=_plain)


def resolved(path: Path) -> Path:
    """The absolute path behind links; unlike ``Path.resolve``, also of a link to itself."""
    return Path(os.path.realpath(path))


def read_bytes(path: Path) -> bytes:
    """The content of a file; a named pipe or a device is refused, which may have no end.

    Raises:
        OSError: It cannot be read.
    """
    mode = path.stat().st_mode
    # The shell gives the output of a command as a pipe there: compare <(...) b.json
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or path.parent == Path("/dev/fd")):
        raise OSError(errno.EINVAL, "a named pipe or a device, not a file", str(path))
    return path.read_bytes()


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, see ``read_bytes``; a byte order mark is left out.

    Raises:
        OSError: It cannot be read.
        UnicodeDecodeError: It is not UTF-8.
    """
    return read_bytes(path).decode("utf-8-sig")


def is_text(name: str) -> bool:
    """Whether a string can be written to a file or a terminal; half of a surrogate pair cannot."""
    return not any("\ud800" <= char <= "\udfff" for char in name)


def read_json(path: Path, *, hint: str) -> Any:
    """Read a JSON file.

    Raises:
        DataError: It is missing or not JSON; the hint says what to do.
    """
    try:
        return json.loads(read_text(path))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", hint=hint) from error
    except (OSError, ValueError, RecursionError) as error:  # the last one of deep nesting
        raise DataError(f"{path} is not readable JSON: {error}", hint=hint) from error


def sha256_file(path: Path) -> str:
    """The file's SHA-256, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"no JSON form for {type(value).__name__}")
