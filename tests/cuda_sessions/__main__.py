"""CUDA sessions by pycuda and by our own calls, on a stand-in of libcuda: ``make check-pycuda``.

pip fetches pycuda's sources, which are built once, with the headers of a CUDA toolkit (minutes); gcc builds
the stand-in from ``stub.c``. Then the checks of ``checks.py`` run, in processes of their own, as they do on a
GPU with ``python -m tests.cuda_sessions.on_gpu``: for a GPU with memory of its own and for an integrated one,
for several GPUs and for none.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = ROOT / "build" / "cuda-sessions"
PYCUDA = "pycuda==2026.1"
GCC = ("gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread")
SONAME = "-Wl,-soname,libcuda.so.1"
#: Descriptions of the machine for the stand-in, see ``stub.c``, and how many devices shall be found.
MACHINES = (
    ({"STUB_CUDA_INTEGRATED": "0"}, 1),
    ({"STUB_CUDA_INTEGRATED": "1"}, 1),
    ({"STUB_CUDA_DEVICES": "3"}, 3),
)


def main() -> int:
    """Build, run, and tell what does not hold; returns the exit status."""
    WORK.mkdir(parents=True, exist_ok=True)
    site = build_pycuda()
    library = build_stub(WORK / "stub", site)
    problems = run(library, [str(site)], ["--pycuda", "installed"])
    print("\n".join(problems) if problems else f"all held, with {PYCUDA} and without")
    return 1 if problems else 0


def run(library: Path, path: list[str], arguments: list[str]) -> list[str]:
    """Run the checks on the stand-in; returns what does not hold, a line each.

    Args:
        library: Folder of the stand-in.
        path: Folders for PYTHONPATH.
        arguments: Arguments of ``tests.cuda_sessions.on_gpu``.
    """
    problems = []
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library)}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *path])
    for machine, devices in MACHINES:
        done = _on_gpu(arguments, {**environment, **machine})
        if done.returncode:
            problems.append(f"{machine}: {done.stderr.strip()}")
            continue
        for binding, found in json.loads(done.stdout)["devices"].items():
            if found["seen"] != list(range(devices)):
                problems.append(f"{machine}: {binding} found the devices {found['seen']}")
        engine = _run("engine_on_stub", [], {**environment, **machine})
        if engine.returncode or engine.stderr:
            problems.append(f"{machine}: an engine: {(engine.stdout + engine.stderr)[-600:]}")
    none = _on_gpu(["--part", "gpu"], {**environment, "STUB_CUDA_DEVICES": "0"})
    if "CUDA_ERROR_NO_DEVICE" not in none.stderr:
        problems.append(f"without a GPU: {none.stderr[-300:]}")
    return problems


def _on_gpu(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return _run("on_gpu", arguments, environment)


def _run(module: str, arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"tests.cuda_sessions.{module}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)


def build_stub(folder: Path, site: Path | None = None) -> Path:
    """Build the stand-in of libcuda into a folder.

    Args:
        folder: The folder.
        site: Folder of an installed pycuda, whose other functions are then there too; they do not work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source, target = Path(__file__).with_name("stub.c"), folder / "libcuda.so.1"
    _call(*GCC, SONAME, str(source), "-o", str(target))
    if site is not None:
        (extension,) = site.glob("pycuda/_driver*.so")
        others = sorted(_symbols(extension, "--undefined-only") - _symbols(target, "--defined-only"))
        rest = folder / "rest.h"
        rest.write_text("".join(f"OTHER({name})\n" for name in others), "utf-8")
        _call(*GCC, SONAME, f'-DREST="{rest}"', str(source), "-o", str(target))
    return folder


def build_pycuda() -> Path:
    """Build and install pycuda into a folder of its own, once; returns the folder."""
    site = WORK / f"site-{sys.version_info[0]}.{sys.version_info[1]}"
    if site.exists():
        return site
    sources, empty = WORK / "sources", WORK / "empty"
    shutil.rmtree(sources, ignore_errors=True)
    empty.mkdir(exist_ok=True)
    # The linker wants a library of this name, and drops one without functions unless it is told not to.
    (empty / "none.c").touch()
    _call("gcc", "-shared", SONAME, str(empty / "none.c"), "-o", str(empty / "libcuda.so"))
    pip = (sys.executable, "-m", "pip")
    _call(*pip, "download", "--no-deps", "--no-binary", "pycuda", "--dest", str(sources), PYCUDA)
    (archive,) = sources.glob("pycuda-*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(sources, filter="data")
    tree = archive.with_name(archive.name.removesuffix(".tar.gz"))
    options = (f"--cuda-root={_toolkit()}", "--no-cuda-enable-curand", f"--cudadrv-lib-dir={empty}")
    _call(sys.executable, "configure.py", *options, folder=tree)
    fresh = WORK / "site-unfinished"
    shutil.rmtree(fresh, ignore_errors=True)
    _call(
        *pip, "install", "--no-deps", "--target", str(fresh), ".", folder=tree, LDFLAGS="-Wl,--no-as-needed"
    )
    fresh.rename(site)
    return site


def _toolkit() -> Path:
    """The folder of the CUDA toolkit."""
    compiler = shutil.which("nvcc", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/cuda/bin"]))
    places = [Path(compiler).resolve().parent.parent] if compiler else []
    for root in (*places, Path("/usr/local/cuda")):
        if (root / "include" / "cuda.h").exists():
            return root
    sys.exit("error: there are no CUDA headers\n  hint: install a CUDA toolkit; nvcc must be on PATH")


def _symbols(library: Path, which: str) -> set[str]:
    """Names of the driver's functions in a library."""
    listed = _call("nm", "--dynamic", which, str(library)).splitlines()
    return {name for line in listed if (name := line.split()[-1]).startswith("cu")}


def _call(*command: str, folder: Path | None = None, **environment: Any) -> str:
    """Run a command and return its output; ends this process if it fails."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    if done.returncode:
        sys.exit(f"error: {' '.join(command)} failed: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
