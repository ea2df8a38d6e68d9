"""Bring the files of a job here, into a folder that appears when all of them are there."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from edgestill.errors import DeviceError, UsageError
from edgestill.remote.device import Call, ConnectionLostError, Device

CHUNK = 1 << 20
MOST_BYTES = 64 << 30  # of all files: recordings are large, but no device fills this disk


def refuse_folder(folder: Path, *, force: bool) -> None:
    """Raise UsageError if a folder exists and may not be replaced."""
    if folder.exists() and not force:
        raise UsageError(f"{folder} exists already", hint="choose another folder with --to, or add --force")


def fetch_files(device: Device, folder: Path, *, job: int | None, force: bool) -> dict[str, Any]:
    """Fetch the log, the results and the written files of a job.

    Args:
        device: Where it ran.
        folder: A folder that is made, or with ``force`` replaced.
        job: Its number; None for the user's newest.
        force: Whether an existing folder may be replaced.

    Returns:
        ``job``, ``verb`` and ``since``, and ``files``: the paths here.

    Raises:
        DeviceError: A file has a name that leads elsewhere, or too many bytes.
        UsageError: The folder exists, or there is no job.
    """
    refuse_folder(folder, force=force)
    folder.parent.mkdir(parents=True, exist_ok=True)

    def once() -> dict[str, Any]:
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            with device.call("fetch", job=job) as call:
                result, names = _receive(call, temporary, device.name)
            temporary.chmod(0o777 & ~_umask())
            if folder.exists():
                shutil.rmtree(folder)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return {**result, "files": [str(folder / name) for name in names]}

    return device.patiently(once)


def _receive(call: Call, folder: Path, device: str) -> tuple[dict[str, Any], list[str]]:
    names: list[str] = []
    total = 0
    while "result" not in (event := call.event()):
        name, count = str(event["file"]), int(event["bytes"])
        total += count
        if not _is_inside(name) or count < 0 or total > MOST_BYTES:
            raise DeviceError(
                f"{device} sends a file {name!r} of {count} bytes",
                hint="look at what answers there: it is not the agent of edgestill",
            )
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with path.open("xb") as out:
            while count:
                block = call.read(min(count, CHUNK))
                digest.update(block)
                out.write(block)
                count -= len(block)
        if digest.hexdigest() != event["sha256"]:
            raise ConnectionLostError(f"{name} changed on its way")
        names.append(name)
    return event["result"], names


def _is_inside(name: str) -> bool:
    """Whether a name is relative and stays inside the folder, on this system."""
    odd = set("\\:\0") if os.name == "nt" else set("\0")
    return all(part not in {"", ".", ".."} and not set(part) & odd for part in name.split("/"))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
