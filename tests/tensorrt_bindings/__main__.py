"""Compare edgestill with NVIDIA's TensorRT bindings: ``make check-tensorrt``, or ``python -m`` this folder.

For each version, pip fetches the bindings without the libraries (about 5 MB each), and gcc makes stubs in the
place of the libraries. Then the tests of the builder and the backend run and record what edgestill uses of
its stand-in. For each version are compared:

- what edgestill uses, with the bindings: names, arguments, types;
- the stand-in, with the bindings: the same names and signatures, and none that the version lacks;
- the attributes in the sources, with what the tests reached.

Versions before 8.6 are on no package index: their stand-ins (8.2, 8.5) rest on the documentation alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.backends.trt import DTYPES
from tests.standins import tensorrt_surface
from tests.standins.access_recorder import FOLDER_VARIABLE
from tests.tensorrt_bindings.comparison import (
    Access,
    access_problems,
    relevant,
    standin_problems,
    unreached,
    unused,
)
from tests.tensorrt_bindings.surface import Surface, from_json, read_standin

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = ROOT / "build" / "tensorrt-bindings"
TESTS = (
    "tests/export/tensorrt/test_builder.py",
    "tests/export/tensorrt/test_engine.py",
    "tests/export/tensorrt/test_profile.py",
    "tests/runtime/backends/test_trt.py",
)
#: The modules that call TensorRT.
SOURCES = ("export/tensorrt", "runtime/tensorrt", "runtime/backends/trt.py")
LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin", "nvparsers")
#: In the stand-in, and used by the libraries alone.
BEHIND_BINDINGS = {"Logger.log"}


@dataclass(frozen=True, slots=True)
class Bindings:
    """A release of the bindings.

    Attributes:
        version: Its version on the package index.
        package: Its package.
        last_python: The last Python that it has a wheel for; None for all that edgestill supports.
    """

    version: str
    package: str = "tensorrt-cu12-bindings"
    last_python: tuple[int, int] | None = None


#: The releases of the JetPacks, the last one for a V100, those around a change, and the newest.
RELEASES = (
    Bindings("8.6.1", "tensorrt-bindings", last_python=(3, 11)),
    Bindings("10.0.1"),
    Bindings("10.3.0"),
    Bindings("10.4.0"),
    Bindings("10.7.0"),
    Bindings("10.9.0.34"),
    Bindings("10.13.3.9"),
    Bindings("10.16.1.11"),
    Bindings("11.4.0.106"),
)


def main() -> int:
    """Check all releases; returns the exit status."""
    python = sys.version_info[:2]
    stubs = _build_stubs()
    found = {
        one.version: _read(one, stubs) for one in RELEASES if not one.last_python or python <= one.last_python
    }
    accesses = _record()
    vendors = {version: from_json(answer["surface"]) for version, answer in found.items()}
    in_any = frozenset(name for vendor in vendors.values() for name in vendor)
    standins = {version: _standin(version) for version in vendors}
    in_any_standin = frozenset(name for standin in standins.values() for name in standin)
    faults = 0
    for version, vendor in vendors.items():
        own = relevant(accesses, version, standins[version])
        problems = [
            *found[version]["problems"],
            *access_problems(own, vendor, in_any=in_any),
            *standin_problems(standins[version], vendor, in_any_standin=in_any_standin),
        ]
        faults += _tell(version, f"{len({access.name for access in own})} names used", problems)
    sources = [path.relative_to(ROOT) for path in _sources()]
    missed = [
        *unreached(sources, accesses, in_any),
        *(f"no version has DataType.{name}" for name in DTYPES if f"DataType.{name}" not in in_any),
    ]
    faults += _tell("sources", f"{len(sources)} modules", missed)
    idle = [
        f"the stand-in has {name}, which edgestill does not use"
        for name in unused(standins.values(), accesses)
        if name not in BEHIND_BINDINGS
    ]
    faults += _tell("stand-in", f"{len(in_any_standin)} names", idle)
    for one in RELEASES:
        if one.version not in found:
            print(f"{one.version}: NOT CHECKED, it has no wheel for Python {python[0]}.{python[1]}")
    return 1 if faults else 0


def _tell(what: str, checked: str, problems: Sequence[str]) -> int:
    print(f"{what}: {checked}, {len(problems)} problems")
    for problem in problems:
        print(f"  {problem}")
    return len(problems)


def _build_stubs() -> dict[int, Path]:
    """By major version, the folder of the libraries that the bindings load."""
    WORK.mkdir(parents=True, exist_ok=True)
    built = WORK / "stub.so"
    source = Path(__file__).with_name("stub.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", built, source], check=True)
    folders = {}
    for major in (8, 10, 11):
        folders[major] = WORK / f"stubs-{major}"
        folders[major].mkdir(exist_ok=True)
        for name in LIBRARIES:
            (folders[major] / f"lib{name}.so.{major}").write_bytes(built.read_bytes())
    return folders


def _read(bindings: Bindings, stubs: dict[int, Path]) -> dict[str, Any]:
    """What ``in_bindings`` prints, in an environment with one release."""
    place = WORK / bindings.version
    if not (place / "tensorrt_bindings").is_dir():
        wanted = f"{bindings.package}=={bindings.version}"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place), wanted]
        subprocess.run(pip, check=True)
    major = int(bindings.version.partition(".")[0])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(place)]),
        "LD_LIBRARY_PATH": str(stubs[major]),
    }
    command = [sys.executable, "-m", "tests.tensorrt_bindings.in_bindings"]
    told = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    answer: dict[str, Any] = json.loads(told)
    if answer["version"] != bindings.version:
        answer["problems"].append(f"the package says that it is {answer['version']}")
    return answer


def _record() -> list[Access]:
    """What edgestill uses of the stand-in while its tests run."""
    folder = WORK / "accesses"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    environment = {**os.environ, FOLDER_VARIABLE: str(folder)}
    subprocess.run([sys.executable, "-m", "pytest", "-q", *TESTS], cwd=ROOT, env=environment, check=True)
    lines = {line for path in folder.iterdir() for line in path.read_text("utf-8").splitlines()}
    return [Access.from_json(json.loads(line)) for line in sorted(lines)]


def _standin(version: str) -> Surface:
    return read_standin(tensorrt_surface.make(version))


def _sources() -> list[Path]:
    places = [ROOT / place for place in SOURCES]
    return [path for place in places for path in ([place] if place.is_file() else sorted(place.glob("*.py")))]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}\n  hint: it needs gcc, and pip with a package index", file=sys.stderr)
        sys.exit(1)
