"""What the device is and has: architecture, system, Pythons, free disk, time, and what of ours is there."""

import datetime
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from edgestill.remote.far.jobs import describe, last_job
from edgestill.remote.far.places import Places
from edgestill.remote.far.steps import TENSORRT, Bundle

#: Names that other systems give to the architectures.
MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}
PYTHONS = ("python3", "python3.10", "python3.11", "python3.12")
VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"
MODEL = Path("/proc/device-tree/model")
L4T = Path("/etc/nv_tegra_release")


def facts(places: Places, request: "dict[str, Any]") -> "dict[str, Any]":
    """The facts of the device.

    Args:
        places: The folder.
        request: ``owner``; ``python``, the path of a further Python, or None.
    """
    there = next(one for one in [places.root, *places.root.parents] if one.is_dir())
    machine = os.uname().machine.lower()
    return {
        "machine": MACHINES.get(machine, machine),
        "system": _system(),
        "model": _text(MODEL).rstrip("\0") or None,
        "l4t": _text(L4T).split("\n")[0] or None,
        "pythons": _pythons(request["python"]),
        "folder": str(places.root),
        "free_mb": shutil.disk_usage(str(there)).free // 1_000_000,
        "unix_time_s": datetime.datetime.now(datetime.timezone.utc).timestamp(),
        "bundle": places.owners().get(request["owner"]),
        "bundles": places.bundles(),
        "jobs": describe(places),
        "last_job": last_job(places, request["owner"]),
        "lock": places.holder(),
    }


def doctor(places: Places, request: "dict[str, Any]") -> "dict[str, Any]":
    """The facts, the TensorRT of each Python, and what ``edgestill doctor`` of the deployed bundle says.

    Nothing is tried on a device that is in use: it may be measuring.
    """
    found = facts(places, request)
    found["tensorrt"], found["doctor"] = {}, None
    if found["lock"] is not None:
        return found
    found["tensorrt"] = {
        version: _said([path, "-I", "-c", TENSORRT]) for version, path in found["pythons"].items()
    }
    if found["bundle"] in found["bundles"]:
        bundle = Bundle(places.bundle(found["bundle"]))
        if bundle.is_installed:
            said = _said(["sh", str(bundle.folder / "run.sh"), "edgestill", "doctor"])
            found["doctor"] = json.loads(said) if said else None
    return found


def _pythons(more: "str | None") -> "dict[str, str]":
    """The Pythons by version; the first of a version is the one that run.sh takes."""
    found: dict[str, str] = {}
    files = set()
    for name in ([more] if more else []) + list(PYTHONS):
        path = shutil.which(str(Path(name).expanduser()))
        if path is None or os.path.realpath(path) in files:
            continue
        files.add(os.path.realpath(path))
        version = _said([path, "-IS", "-c", VERSION])
        if version:
            found.setdefault(version, path)
    return found


def _said(command: "list[str]") -> "str | None":
    """What a command prints; None if it fails."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None


def _system() -> str:
    """The name of the system, as it calls itself."""
    for line in _text(Path("/etc/os-release")).splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip("\"'")
    return f"{os.uname().sysname} {os.uname().release}"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
