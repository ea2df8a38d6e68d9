"""Send the files of a job: its log, what its steps printed, and what they wrote."""

import stat
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator

from edgestill.remote.far.jobs import last_job
from edgestill.remote.far.places import Places, RefusedError, blocks, read_json, sha256

Emit = Callable[..., None]


def fetch(places: Places, request: "dict[str, Any]", out: BinaryIO, emit: Emit) -> "dict[str, Any]":
    """Write each file: an event with its name, size and hash, then so many bytes.

    Args:
        places: The folder.
        request: ``owner``; ``job``, or None for the newest one of the user.
        out: Where the bytes go.
        emit: Writes an event there.
    """
    number = request["job"] or last_job(places, request["owner"])
    if number is None or not places.job(number).is_dir():
        raise RefusedError("there is no job of yours to fetch", "edgestill remote HOST bench BUNDLE", 2)
    folder = places.job(number)
    for path in _files(folder):
        size = path.stat().st_size
        emit(file=path.relative_to(folder).as_posix(), bytes=size, sha256=sha256(path))
        with path.open("rb") as stream:
            for block in blocks(stream):
                out.write(block)
        out.flush()
    job = read_json(folder / "job.json") or {}
    return {"job": number, "verb": job.get("verb"), "since": job.get("since")}


def _files(folder: Path) -> "Iterator[Path]":
    yield folder / "log"
    for name in ("results", "out"):
        for path in sorted((folder / name).rglob("*")):
            if stat.S_ISREG(path.lstat().st_mode):
                yield path
