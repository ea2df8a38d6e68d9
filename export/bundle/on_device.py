"""Checks, installs and uninstalls an unpacked bundle: ``install.py`` of the bundle, started by ``run.sh``.

This file is copied into each bundle and runs on the device before anything is installed: it needs Python 3.10
to 3.12 and the standard library only, and imports nothing of this project. It prints JSON on stdout, and an
error as two lines on stderr.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

SUMS, SIGNATURE, INDEX, COMPLETE = "SHA256SUMS", "SHA256SUMS.sig", "bundle.json", "complete.json"
VERBS = ("check", "install", "uninstall")
#: Names that other systems give to the architectures.
MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}
#: Imported once after the installation: NumPy and OpenCV are compiled, and may not fit the system.
PROBE = "import sys, numpy, cv2, edgestill; print(edgestill.__version__)"
#: A bundle unpacked by hand may hold files of its user; Python must never find modules among them.
STARTS_WITHOUT = ("PYTHON", "PIP_")


class InstallError(Exception):
    """What went wrong, what to do next, and the exit code: 2 usage, 4 files of the bundle, 5 this machine."""

    def __init__(self, what: str, hint: str, code: int) -> None:
        super().__init__(what)
        self.hint, self.code = hint, code


def main(words: Sequence[str] | None = None, folder: Path | None = None) -> int:
    """Run one verb on the folder that this file is in; gives the exit code."""
    words = sys.argv[1:] if words is None else words
    folder = folder or Path(__file__).resolve().parent
    verb = {"check": check, "install": install, "uninstall": uninstall}.get(" ".join(words))
    if verb is None:
        return _print_error(words, f"unknown arguments: {' '.join(words)}", f"one of {', '.join(VERBS)}", 2)
    try:
        print(json.dumps(verb(folder), indent=2))
    except InstallError as error:
        return _print_error(words, str(error), error.hint, error.code)
    except OSError as error:  # a full disk, a folder of another user
        what = f"{error.filename or folder}: {error.strerror or error}"
        return _print_error(
            words, what, "check the free space and the permissions, then repeat the command", 5
        )
    except KeyboardInterrupt:
        return _print_error(words, "interrupted", "repeat the command", 130)
    return 0


def check(folder: Path) -> dict[str, Any]:
    """Compare every file with its hash; a file that is not listed is refused, too."""
    hashes = dict(_listed(folder))
    for name, expected in hashes.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise _altered(f"{name} is missing" if not path.exists() else f"{name} is no regular file")
        if _sha256(path) != expected:
            raise _altered(f"{name} is not the file that {SUMS} lists")
    known = {SUMS, SIGNATURE, *hashes}
    for top in sorted({name.partition("/")[0] for name in hashes if "/" in name}):
        for path in sorted((folder / top).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if name not in known and not path.is_dir():
                raise _altered(f"{name} is not listed in {SUMS}")
    return {"kind": "bundle-check", "folder": str(folder), "files": len(hashes), "ok": True}


def install(folder: Path) -> dict[str, Any]:
    """Make the Python environment from the wheels of the bundle, without a network."""
    check(folder)
    index = json.loads((folder / INDEX).read_text("utf-8"))
    wheels = _wheels(index)
    installed = folder / "installed"
    _remove(installed / "venv")  # an earlier one, or an interrupted one; engines stay
    (installed / COMPLETE).unlink(missing_ok=True)
    scratch = installed / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        _make_environment(folder, index, wheels, scratch)
    except BaseException:
        _remove(installed / "venv")
        raise
    finally:
        _remove(scratch)
    result = {
        "kind": "bundle-install",
        "folder": str(folder),
        "edgestill": index["edgestill"],
        "python": platform.python_version(),
        "environment": str(installed / "venv"),
        "packages": len(wheels),
        "models": [model["name"] for model in index["models"]],
    }
    temporary = installed / f".{COMPLETE}"
    temporary.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    temporary.replace(installed / COMPLETE)  # last: without it the installation counts as interrupted
    return result


def uninstall(folder: Path) -> dict[str, Any]:
    """Remove what was installed and the files of the bundle; files of others stay, and are named."""
    names = [*(name for name, _ in _listed(folder)), SIGNATURE, SUMS]
    _remove(folder / "installed")
    for name in names:
        (folder / name).unlink(missing_ok=True)
    folders = {parent for name in names for parent in _parents(name)}
    for inner in sorted(folders, key=len, reverse=True):
        _remove_empty(folder / inner)
    left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    _remove_empty(folder)
    return {"kind": "bundle-uninstall", "folder": str(folder), "left": left}


def _listed(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of each file of the bundle, from SHA256SUMS."""
    try:
        lines = (folder / SUMS).read_text("ascii").splitlines()
    except FileNotFoundError:
        raise _altered(f"{folder} has no {SUMS}: it is no bundle") from None
    except UnicodeDecodeError as error:
        raise _altered(f"{SUMS} is not ASCII: {error}") from error
    for line in lines:
        digest, gap, name = line[:64], line[64:66], line[66:]
        parts = name.split("/")
        if gap != "  " or not name or not all(part.strip(".") for part in parts) or "installed" in parts:
            raise _altered(f"{SUMS} has a line {line[:80]!r}")
        yield name, digest


def _wheels(index: Mapping[str, Any]) -> list[str]:
    """The wheels for this Python and architecture, pip's first."""
    machine = MACHINES.get(platform.machine().lower(), platform.machine().lower())
    if machine != index["machine"]:
        raise InstallError(
            f"this bundle is for {index['machine']} ({index['device']}), this machine is {machine}",
            "write one for it: edgestill bundle ... --for DEVICE",
            5,
        )
    python = "{}.{}".format(*sys.version_info[:2])
    if python not in index["wheels"]:
        raise InstallError(
            f"this bundle has packages for Python {', '.join(index['wheels'])}, this is Python {python}",
            f"write it with --python {python}, or name another: PYTHON=/path/of/python sh run.sh install",
            5,
        )
    return [index["pip"], *index["wheels"][python]]


def _make_environment(folder: Path, index: Mapping[str, Any], wheels: Sequence[str], scratch: Path) -> None:
    venv = folder / "installed" / "venv"
    system = ["--system-site-packages"] if index["system_packages"] else []
    # Without pip, for which Debian and Ubuntu want the package python3-venv: its wheel installs the others.
    _run(
        [sys.executable, "-I", "-m", "venv", "--without-pip", *system, str(venv)], scratch, "the environment"
    )
    python = str(venv / "bin" / "python")
    pip = f"{folder / wheels[0]}/pip"
    options = ("--no-index", "--no-deps", "--no-cache-dir", "--no-compile", "--disable-pip-version-check")
    files = [str(folder / name) for name in wheels[1:]]
    _run([python, pip, "install", "--quiet", *options, *files], scratch, "the packages")
    try:
        _run([python, "-I", "-c", PROBE], scratch, "edgestill")
    except InstallError as error:
        if index["system_packages"] and "cv2" in str(error):
            raise InstallError(
                str(error), "sudo apt install python3-opencv, then repeat the command", 5
            ) from error
        raise


def _run(command: Sequence[str], scratch: Path, what: str) -> None:
    """Run a step of the installation; its last line of output is the error if it fails."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(STARTS_WITHOUT)}
    clean |= {"TMPDIR": str(scratch), "PYTHONNOUSERSITE": "1", "PIP_CONFIG_FILE": os.devnull}
    clean["HOME"] = str(scratch)  # pip starts rustc, if there is one, which may write to the home folder
    done = subprocess.run(command, env=clean, cwd=scratch, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        said = lines[-1].strip() if lines else f"exit code {done.returncode}"
        full = "No space left" in done.stderr
        raise InstallError(
            f"{what} could not be installed: {said}",
            "free some space, then repeat the command" if full else "the bundle does not fit this system",
            5,
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _altered(what: str) -> InstallError:
    return InstallError(what, "unpack the bundle again, into a new folder", 4)


def _parents(name: str) -> list[str]:
    return [parent.as_posix() for parent in Path(name).parents if parent.as_posix() != "."]


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _remove_empty(path: Path) -> None:
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()


def _print_error(words: Sequence[str], what: str, hint: str, code: int) -> int:
    print(f"run.sh {' '.join(words[:1])}: {' '.join(what.split())}\n  hint: {hint}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
