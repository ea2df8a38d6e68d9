"""Makes and finds the environments of the other programs: ``make peers``, or this module.

``python -m benchmarks.peers.environments --folder .peers``

Each program gets a virtual environment of its own with pinned versions, so that none brings its libraries, or
its licence, into this project's. One that is complete already is left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgestill.errors import DeviceError, ToolchainError
from edgestill.files import write_bytes
from edgestill.progress import say

FOLDER = Path(".peers")
MAKE = "make peers"
REQUIREMENTS = Path(__file__).with_name("requirements")
COMPLETE = "complete.txt"  # holds the hash of the requirements that were installed
#: Prints name, version and licence of each installed package, and the size of all on disk in MiB.
LISTING = """
import json, pathlib, sys
from importlib.metadata import distributions
found = []
for one in distributions():
    data = one.metadata
    kinds = [k.split(" :: ")[-1] for k in data.get_all("Classifier") or () if k.startswith("License")]
    stated = (data.get("License") or "").strip()
    short = stated if stated and len(stated) < 40 and chr(10) not in stated else ""
    licence = data.get("License-Expression") or short or ", ".join(kinds) or "not stated"
    found.append([data["Name"], one.version, licence])
size = sum(p.lstat().st_size for p in pathlib.Path(sys.prefix).rglob("*"))
print(json.dumps({"packages": sorted(found), "mib": round(size / 2**20)}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment of other programs.

    Attributes:
        name: Its folder, and the file of its requirements.
        holds: What it is for, with the licence of the main package.
        needed: Programs that are in ``bin`` when it is complete.
        check: Python code that fails if the packages do not fit together.
    """

    name: str
    holds: str
    needed: tuple[str, ...]
    check: str = ""

    @property
    def requirements(self) -> Path:
        """The file with the pinned packages."""
        return REQUIREMENTS / f"{self.name}.txt"

    @property
    def pins(self) -> list[str]:
        """The pinned packages, ``NAME==VERSION``."""
        lines = self.requirements.read_text("utf-8").splitlines()
        return [line for line in lines if line and not line.startswith("#")]


ENVIRONMENTS = {
    one.name: one
    for one in (
        Environment(
            name="openvino",
            holds="OpenVINO's benchmark_app and NNCF (Apache-2.0)",
            needed=("python", "benchmark_app"),
        ),
        Environment(name="onnxruntime", holds="ONNX Runtime's quantiser (MIT)", needed=("python",)),
        Environment(
            name="ultralytics",
            holds="the program yolo (AGPL-3.0, with torch)",
            needed=("python", "yolo"),
            # Fails if an index gave torch without CUDA and torchvision with it.
            check="import torchvision; torchvision.ops.nms",
        ),
    )
}


def program_of(name: str, program: str, folder: Path = FOLDER) -> Path:
    """A program of an environment.

    Args:
        name: Of ``ENVIRONMENTS``.
        program: Its name in ``bin``.
        folder: Where the environments are.

    Raises:
        DeviceError: The environment is missing, incomplete, or of other versions.
    """
    path = (folder / name / "bin" / program).absolute()
    if _stamp(folder, name) != _wanted(name) or not path.exists():
        raise DeviceError(f"the environment {folder / name} is missing or of other versions", hint=MAKE)
    return path


def make(name: str, folder: Path = FOLDER) -> bool:
    """Make an environment, unless it is complete.

    Returns:
        Whether anything was installed.

    Raises:
        DeviceError: pip failed.
    """
    environment, place = ENVIRONMENTS[name], folder / name
    there = all((place / "bin" / one).exists() for one in environment.needed)
    if there and _stamp(folder, name) == _wanted(name):
        return False
    if place.exists():
        shutil.rmtree(place)
    say(f"{place}: {environment.holds}: {', '.join(environment.pins)}")
    _run([sys.executable, "-m", "venv", str(place)])
    install = ["-m", "pip", "install", "--quiet", "--requirement", str(environment.requirements)]
    python = str(place / "bin" / "python")
    _run([python, *install])
    if environment.check:
        _run([python, "-I", "-c", environment.check])
    write_bytes(place / COMPLETE, _wanted(name).encode())
    return True


def describe(name: str, folder: Path = FOLDER) -> str:
    """What an environment holds, as a line: packages with versions and licences, and its size on disk."""
    listed = json.loads(_run([str(folder / name / "bin" / "python"), "-I", "-c", LISTING]))
    packages = [f"{package} {version} ({licence})" for package, version, licence in listed["packages"]]
    return f"{folder / name}: {listed['mib']} MiB on disk, {len(packages)} packages: {', '.join(packages)}"


def _wanted(name: str) -> str:
    return hashlib.sha256("\n".join(ENVIRONMENTS[name].pins).encode()).hexdigest()


def _stamp(folder: Path, name: str) -> str | None:
    path = folder / name / COMPLETE
    return path.read_text("utf-8") if path.is_file() else None


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise DeviceError(
            f"{Path(command[0]).name} ended with {done.returncode}: {last[0]}", hint=" ".join(command[:8])
        )
    return done.stdout


def main(argv: Sequence[str] | None = None) -> int:
    """Make all environments, and say what they hold; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.environments", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where they are made (default .peers)")
    args = parser.parse_args(argv)
    try:
        for name in ENVIRONMENTS:
            made = make(name, args.folder)
            print(f"{'made' if made else 'there already'}: {describe(name, args.folder)}")
    except ToolchainError as error:
        print(f"benchmarks.peers.environments: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
