"""Files that are never half written: a temporary name beside the target, then a rename."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgestill.errors import DataError, UsageError


@contextmanager
def replacing(path: Path, *, force: bool = True) -> Iterator[Path]:
    """Give a temporary path to write; rename it onto ``path`` if the block ends well, else remove it.

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
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """The name under which a file is written before it is renamed onto ``path``."""
    # The suffix stays last: image, video and model writers choose their format by it.
    return path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")


def remove_leftovers(path: Path) -> None:
    """Remove the temporaries of a file whose writers were killed; nobody may be writing it now."""
    for left in path.parent.glob(f".{path.stem}.*{path.suffix}"):
        left.unlink(missing_ok=True)


def refuse_overwrite(path: Path, *, force: bool) -> None:
    """Raise UsageError if ``path`` exists and may not be replaced."""
    if path.exists() and not force:
        raise UsageError(f"{path} exists already", hint="name another place, or add --force to replace it")


def write_bytes(path: Path, data: bytes, *, force: bool = True) -> None:
    """Write a whole file in one step, see ``replacing``."""
    with replacing(path, force=force) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any, *, force: bool = True) -> None:
    """Write dataclasses, paths and NumPy scalars as indented JSON, in one step."""
    write_bytes(path, (to_json_text(value) + "\n").encode(), force=force)


def to_json_text(value: Any, *, indent: int | None = 2) -> str:
    """JSON text of plain values, dataclasses, paths and NumPy scalars and arrays."""
    return json.dumps(value, indent=indent, default=_plain)


def read_json(path: Path, *, hint: str) -> Any:
    """Read a JSON file.

    Raises:
        DataError: It is missing or not JSON; the hint says what to do.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", hint=hint) from error
    except (OSError, ValueError) as error:
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
