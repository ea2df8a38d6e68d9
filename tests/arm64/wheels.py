"""The project's wheel and the ARM64 wheels of what it needs, fetched by the host's pip."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
#: Oldest glibc of wheels in use; pip does not derive older tags from a newer one that is given to it.
_OLDEST_GLIBC = 17
_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def build_project_wheel(folder: Path) -> Path:
    """Build the wheel of what git knows, in a copy: setuptools would pack what older builds left."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    with TemporaryDirectory() as copy:
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():  # not if it was removed without git
                (Path(copy) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, Path(copy) / name)
        subprocess.run([*_PIP, "wheel", "--no-deps", "--wheel-dir", folder, copy], check=True)
    (wheel,) = folder.glob("edgestill-*.whl")
    return wheel


def fetch_wheels(requirements: Iterable[str], folder: Path, *, python: str, glibc: int) -> None:
    """Download the ARM64 wheels of some requirements and of all that they need.

    Args:
        requirements: As for pip.
        folder: Where the wheels go.
        python: Version of the Python that they are for, e.g. ``"3.11"``.
        glibc: Its minor version, e.g. 36 for 2.36.

    Raises:
        subprocess.CalledProcessError: pip finds no wheel for one of them; its messages are on stderr.
    """
    subprocess.run([*_PIP, "download", "--dest", folder, *_target(python, glibc), *requirements], check=True)


def resolve_wheels(requirements: Iterable[str], *, python: str, glibc: int) -> dict[str, str]:
    """Versions by name of what pip would install on an ARM64 board; nothing is installed.

    Args:
        requirements: See ``fetch_wheels``; so are the others.
        python: See there.
        glibc: See there.

    Raises:
        subprocess.CalledProcessError: See there.
    """
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        flags = ["--dry-run", "--ignore-installed", "--target", folder, "--report", report]
        subprocess.run([*_PIP, "install", *flags, *_target(python, glibc), *requirements], check=True)
        chosen = json.loads(report.read_text())["install"]
    return {one["metadata"]["name"].lower(): one["metadata"]["version"] for one in chosen}


def _target(python: str, glibc: int) -> list[str]:
    """pip's options for the wheels of a Python and a glibc on ARM64."""
    tags = [f"manylinux_2_{minor}_aarch64" for minor in range(_OLDEST_GLIBC, glibc + 1)]
    platforms = [word for tag in ("manylinux2014_aarch64", *tags) for word in ("--platform", tag)]
    # abi3 and none are no longer implied once an ABI is given.
    abis = [word for abi in (f"cp{python.replace('.', '')}", "abi3", "none") for word in ("--abi", abi)]
    return ["--only-binary", ":all:", "--python-version", python, "--implementation", "cp", *abis, *platforms]
