"""The state of a conversion, so that an interrupted one continues.

One JSON object a line in ``convert.jsonl`` of the new data set: first the settings, then each image when it
is finished, and a last line at the end. An incomplete line is ignored. An image counts as finished only if
its source is unchanged (path, size, modification time) and the written file has the recorded digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from edgestill.errors import DataError, UsageError
from edgestill.files import write_bytes

FILE = "convert.jsonl"
SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedImage:
    """A finished image.

    Attributes:
        image: Its file, relative to the data set.
        source: Path, size and modification time of its source file, and how it was written.
        digest: Of the written file; empty for a link, which is the source itself.
        size_wh: Width and height, px.
    """

    image: str
    source: tuple[str, int, int, str]
    digest: str
    size_wh: tuple[int, int]


def digest_file(path: Path) -> str:
    """BLAKE2b digest of a file, 128 bits, hexadecimal."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


class ConversionState:
    """The state of the conversion into one folder.

    Args:
        out: The folder; it may not exist yet.
        settings: Those that determine the result.
        force: Whether a folder that an earlier conversion finished, or that has other settings, may change.

    Raises:
        UsageError: The folder contains something else, or may not change.
        DataError: The state is not readable.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], *, force: bool) -> None:
        self.done: dict[str, FinishedImage] = {}
        self._path = out / FILE
        self._head = {"schema": SCHEMA, "settings": json.loads(json.dumps(settings))}
        self._stream: TextIO | None = None
        if self._path.is_file():
            self._load(force=force)
        elif out.exists() and (out.is_file() or any(out.iterdir())):
            raise UsageError(
                f"{out} is not a conversion and will not be replaced", hint="name another place with --out"
            )

    def _load(self, *, force: bool) -> None:
        lines = list(_lines(self._path))
        head = lines[0] if lines else {}
        if head.get("schema") != SCHEMA:
            raise DataError(
                f"{self._path} is not the state of a conversion", hint="name another place with --out"
            )
        if not force and head != self._head:
            changed = [k for k, v in self._head["settings"].items() if head["settings"].get(k) != v]
            raise UsageError(
                f"{self._path.parent} was started with other settings: {', '.join(changed)}",
                hint="name another place, or add --force to change it; valid images are kept",
            )
        if not force and lines[-1].get("end"):
            raise UsageError(
                f"{self._path.parent} exists already", hint="name another place, or add --force to renew it"
            )
        for line in lines[1:]:
            if "name" in line:
                done = line["done"]
                for key in ("source", "size_wh"):
                    done[key] = tuple(done[key])
                self.done[line["name"]] = FinishedImage(**done)

    def __enter__(self) -> ConversionState:
        """Write the settings and the images finished by earlier runs; further lines are appended."""
        rows: list[Any] = [self._head, *(_row(name, done) for name, done in self.done.items())]
        write_bytes(self._path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        self._stream = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._stream is not None
        self._stream.close()

    def add(self, name: str, done: FinishedImage) -> None:
        """Record a finished image."""
        if self.done.get(name) != done:
            self.done[name] = done
            self._write(_row(name, done))

    def end(self) -> None:
        """Record the end of the conversion."""
        self._write({"end": True})

    def remove(self) -> None:
        """Remove the state; nothing of the conversion is of use."""
        self._path.unlink(missing_ok=True)

    def _write(self, row: Any) -> None:
        assert self._stream is not None, "the state is used in a with block"
        self._stream.write(json.dumps(row) + "\n")
        self._stream.flush()  # a killed process loses no line


def _row(name: str, done: FinishedImage) -> dict[str, Any]:
    return {"name": name, "done": asdict(done)}


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row
