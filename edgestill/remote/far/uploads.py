"""Receive a bundle: only the files that are not there yet, each from where its last upload was cut."""

import base64
import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator

from edgestill.remote.far.places import (
    CHUNK,
    Places,
    RefusedError,
    inner,
    plain,
    remember,
    remove,
    sha256,
    take_lock,
)

SUMS, SIGNATURE, RUNNER = "SHA256SUMS", "SHA256SUMS.sig", "run.sh"
MARGIN = 64 << 20  # bytes that stay free for the system
Emit = Callable[..., None]


def upload(places: Places, request: "dict[str, Any]", stream: BinaryIO, emit: Emit) -> "dict[str, Any]":
    """Say which files are wanted from which byte on, take them, and put the bundle in its place.

    Args:
        places: The folder.
        request: ``owner``; ``bundle``, its name; ``sums``, the text of SHA256SUMS; ``signature``, that of
            SHA256SUMS as base64, or None; ``sizes`` of the files by name, bytes.
        stream: Of each wanted file, in any order: a line with its name, then the bytes from there on.
        emit: Writes an event.
    """
    owner, name = request["owner"], plain(request["bundle"])
    lock = take_lock(places, owner, "deploy")
    try:
        folder, sizes = places.incoming(name), request["sizes"]
        hashes = dict(_parse(request["sums"]))
        sent = 0
        if not places.bundle(name).is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            wanted = dict(_wanted(places, folder, hashes, sizes))
            left = sum(sizes[one] for one in wanted) - sum(wanted.values())
            _check_space(folder, left)
            emit(wanted=wanted)
            for _ in wanted:
                one = stream.readline().decode("utf-8").rstrip("\n")
                if one not in wanted:
                    raise EOFError("the upload was cut")
                sent += sizes[one] - wanted[one]
                _receive(folder, one, hashes[one], sizes[one] - wanted[one], stream)
            _put_in_place(places, name, request)
        else:
            emit(wanted={})
        remember(places, owner, name)
        total = sum(sizes.values())
        return {"bundle": name, "sent_bytes": sent, "reused_bytes": total - sent}
    finally:
        lock.close()


def _parse(sums: str) -> "Iterator[tuple[str, str]]":
    for line in sums.splitlines():
        yield str(inner(line[66:])), line[:64]


def _wanted(
    places: Places, folder: Path, hashes: "dict[str, str]", sizes: "dict[str, int]"
) -> "Iterator[tuple[str, int]]":
    """The files that are not there yet, each with the number of bytes that are."""
    others = _others(places)
    for name, digest in sorted(hashes.items()):
        path = folder / name
        if path.is_file() and sha256(path) == digest:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(path)
        other = others.get(digest)
        if other is not None and other.is_file() and sha256(other) == digest:
            os.link(str(other), str(path))
            continue
        part = folder / (digest + ".part")
        begin = part.stat().st_size if part.is_file() else 0
        if begin > sizes[name]:
            remove(part)
            begin = 0
        yield name, begin


def _others(places: Places) -> "dict[str, Path]":
    """The files of the deployed bundles by their hash."""
    found = {}
    for name in places.bundles():
        sums = places.bundle(name) / SUMS
        text = sums.read_text("ascii") if sums.is_file() else ""
        found.update({digest: places.bundle(name) / one for one, digest in _parse(text)})
    return found


def _check_space(folder: Path, left: int) -> None:
    free = shutil.disk_usage(str(folder)).free
    if left + MARGIN > free:
        raise RefusedError(
            f"the bundle needs {(left + MARGIN) / 1e6:.0f} MB in {folder}, {free / 1e6:.0f} MB are free",
            "free some space there, or choose another disk with --folder",
            5,
        )


def _receive(folder: Path, name: str, digest: str, count: int, stream: BinaryIO) -> None:
    """Append the rest of a file to its part, and rename it if its hash is right."""
    part = folder / (digest + ".part")
    with part.open("ab") as out:
        while count:
            block = stream.read(min(count, CHUNK))
            if not block:
                raise EOFError("the upload was cut")
            out.write(block)
            count -= len(block)
        out.flush()
        os.fsync(out.fileno())
    if sha256(part) != digest:
        remove(part)
        raise RefusedError(f"{name} arrived damaged", "repeat the command", 4)
    part.replace(folder / name)
    (folder / name).chmod(0o755 if name == RUNNER else 0o644)


def _put_in_place(places: Places, name: str, request: "dict[str, Any]") -> None:
    folder = places.incoming(name)
    (folder / SUMS).write_text(request["sums"], "ascii")
    if request["signature"]:
        (folder / SIGNATURE).write_bytes(base64.b64decode(request["signature"]))
    for left in folder.glob("*.part"):
        left.unlink()
    places.bundle(name).parent.mkdir(exist_ok=True)
    folder.replace(places.bundle(name))
    remove(places.root / "incoming")  # what was given up
