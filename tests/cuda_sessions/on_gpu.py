"""The CUDA part of the runtime on a real GPU, by pycuda and by our own calls; prints a report as JSON.

    python -m tests.cuda_sessions.on_gpu --pycuda FOLDER --out report.json

FOLDER holds a wheel of pycuda, or its source archive, which is built with the CUDA toolkit of the machine;
``installed`` takes the one that is installed. No network and no TensorRT are needed. With PyTorch on the
machine, its kernels stand for an engine. Each part runs in a process of its own, because a wrong order of
release shows when a process ends.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from devices.software import version
from edgestill.errors import DeviceError
from runtime.tensorrt import cuda_bindings
from runtime.tensorrt.cuda_ctypes import CtypesSession
from runtime.tensorrt.cuda_driver import Driver, GpuFacts, open_driver
from runtime.tensorrt.cuda_graph import CudaGraph
from runtime.tensorrt.cuda_session import Session
from tests.cuda_sessions import checks

BINDINGS, MEMORY = ("ctypes", "pycuda"), ("copied", "mapped")
INSTALLED = "installed"
TIMEOUT_S = 120
LIMITS_MIB = (256, 1024, 2048, 4096, 16384)
MOST_DEVICES = 16
RUNS = 200
INPUT_ELEMENTS, OUTPUT_ELEMENTS = 3 * 640 * 640, 25200 * 9  # of YOLOv5 with four classes
SIDE = 1024


def main() -> None:
    """Run all parts, or the one that the parent process asks for, and print JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.cuda_sessions.on_gpu")
    parser.add_argument("--pycuda", type=Path, metavar="FOLDER", help="folder with it, or installed")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the report to FILE")
    parser.add_argument("--part", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        name, *rest = args.part
        print(json.dumps(PARTS[name](*rest)))
        return
    with tempfile.TemporaryDirectory() as folder:
        report = _report(args.pycuda, Path(folder))
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", "utf-8")
    failed = list(_failed(report))
    print("\n".join(["FAILED:", *failed]) if failed else "all held", file=sys.stderr)
    sys.exit(1 if failed else 0)


def _report(pycuda: Path | None, folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = {"gpu": _in_child("gpu"), "device_number": _in_child("device_number")}
    if pycuda and str(pycuda) != INSTALLED:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")])
        report["pycuda"] = _install(pycuda.resolve(), folder)
    report["binding_in_use"] = _in_child("binding")
    bindings = BINDINGS if pycuda else BINDINGS[:1]
    ways = [(binding, memory) for binding in bindings for memory in MEMORY]
    report["devices"] = {binding: _in_child("devices", binding) for binding in bindings}
    report["checks"] = {f"{b}, {m}": _in_child("checks", b, m) for b, m in ways}
    report["times"] = {f"{b}, {m}": _in_child("times", b, m) for b, m in ways}
    report["torch_graph"] = {b: _in_child("torch_graph", b) for b in bindings}
    report["memory_limit"] = {f"{mib} MiB": _in_child("memory_limit", str(mib)) for mib in LIMITS_MIB}
    return report


def _failed(report: Any, path: str = "") -> Iterator[str]:
    """The parts that did not hold; too small a memory limit is a measurement, not a failure."""
    if not isinstance(report, dict):
        return
    for name, value in report.items():
        if name == "memory_limit":
            continue
        if name == "failed" and value:
            causes = value.values() if isinstance(value, dict) else [value]
            yield from (f"{path}: {cause.strip().splitlines()[-1]}" for cause in causes)
        elif name == "stderr" and (
            "checks" in path or "stub:" in value
        ):  # of pycuda, when it cannot clean up
            yield f"{path}: {value.strip().splitlines()[0]}"
        yield from _failed(value, f"{path}/{name}" if path else name)


def _in_child(*part: str) -> Any:
    """Run a part in a process of its own; ``failed`` tells how it ended if not with a result."""
    command = [sys.executable, "-m", "tests.cuda_sessions.on_gpu", "--part", *part]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"no end in {TIMEOUT_S} s"}
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        found = {}
    if done.returncode or not found:
        return {**found, "failed": f"exit status {done.returncode}: {done.stderr[-1500:]}"}
    # pycuda reports clean-up that fails on standard error only.
    return {**found, **({"stderr": done.stderr[-1500:]} if done.stderr.strip() else {})}


def _install(source: Path, folder: Path) -> dict[str, Any]:
    """Install pycuda from a wheel or a source archive into ``folder/site``."""
    started = perf_counter()
    wheels, archives = sorted(source.glob("pycuda-*.whl")), sorted(source.glob("pycuda-*.tar.gz"))
    target = ["--no-index", "--no-deps", "--target", str(folder / "site")]
    why = f"no pycuda in {source}"
    for wheel in wheels:
        why = _run([sys.executable, "-m", "pip", "install", *target, str(wheel)], folder) or ""
        if not why and (why := _in_child("binding").get("name", "")).startswith("pycuda 2"):
            return {"from": wheel.name}
        shutil.rmtree(folder / "site", ignore_errors=True)
    if not archives:
        return {"failed": why}
    with tarfile.open(archives[-1]) as archive:
        archive.extractall(folder, filter="data")
    tree = folder / archives[-1].name.removesuffix(".tar.gz")
    libraries = folder / "lib"
    libraries.mkdir()
    (libraries / "libcuda.so").symlink_to(_libcuda())
    root = Path(shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc").resolve().parent.parent
    options = [f"--cuda-root={root}", "--no-cuda-enable-curand", f"--cudadrv-lib-dir={libraries}"]
    for command in (
        [sys.executable, "configure.py", *options],
        [sys.executable, "-m", "pip", "install", "--no-build-isolation", *target, "."],
    ):
        if (error := _run(command, tree)) is not None:
            return {"failed": error}
    return {"from": archives[-1].name, "built_in_s": round(perf_counter() - started, 1)}


def _run(command: list[str], folder: Path) -> str | None:
    """Run a command; returns the end of its output if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr)[-2000:] if done.returncode else None


def _libcuda() -> str:
    """Path of the driver's library that is loaded by its name."""
    open_driver()
    lines = Path("/proc/self/maps").read_text("utf-8").splitlines()
    return next(line.split()[-1] for line in lines if "libcuda.so" in line)


def _gpu() -> dict[str, Any]:
    facts = open_driver().facts()
    return {
        "name": facts.name,
        "compute_capability": facts.compute_capability,
        "sms": facts.sms,
        "is_integrated": facts.maps_memory,
        "has_graphs": open_driver().has_graphs,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
    }


def _device_number() -> dict[str, Any]:
    said = checks.error_of(lambda: open_driver(9999))
    return {"said": said, "failed": None if "no CUDA device 9999" in said else "another error"}


def _devices(binding: str) -> dict[str, Any]:
    """Sessions on each device that is there; the context is of that device."""
    seen = []
    for index in range(MOST_DEVICES):
        try:
            driver = open_driver(index)
        except DeviceError as error:
            return {"seen": seen, "then": str(error), "failed": None if seen else str(error)}
        session = _open(driver, binding)
        with session.current():
            seen.append(checks.current_device())
        session.close()
        assert seen == list(range(index + 1)), seen
    return {"seen": seen}


def _binding() -> dict[str, Any]:
    return {"name": cuda_bindings.binding_in_use()}


class _Mapped(Driver):
    """A device whose buffers are mapped, as if it were integrated; a GPU with PCIe can do that too."""

    def facts(self) -> GpuFacts:
        return replace(super().facts(), maps_memory=True)


def _opener(binding: str, memory: str) -> Callable[[], Session]:
    kind = _Mapped if memory == "mapped" else Driver

    return lambda: _open(kind(open_driver()._library), binding)


def _open(driver: Driver, binding: str) -> Session:
    if binding == "ctypes":
        return CtypesSession(driver)
    session = cuda_bindings.open_session(driver)
    assert not isinstance(session, CtypesSession), session.binding
    return session


def _run_checks(binding: str, memory: str) -> dict[str, Any]:
    start, held, failed = _opener(binding, memory), [], {}
    for check in checks.ALL:
        error = _error(check, start)
        if error is None:
            held.append(check.__name__)
        else:
            failed[check.__name__] = error
    return {"held": held, "failed": failed}


def _error(check: Callable[..., None], start: Callable[[], Session]) -> str | None:
    try:
        checks.hold(check, start)
    except Exception:
        return traceback.format_exc(limit=-3)
    return None


def _times(binding: str, memory: str) -> dict[str, Any]:
    """Medians of one run with a memset in place of an engine, and the copies of YOLOv5's tensors."""
    session = _opener(binding, memory)()
    with session.current():
        source = session.buffer(INPUT_ELEMENTS, np.float32)
        target = session.buffer(OUTPUT_ELEMENTS, np.float32)
        graph = CudaGraph(session.driver, session.stream, lambda: checks.fill(session, target, 1))
        wall, gpu = [], []
        for run in range(RUNS + 20):
            started = perf_counter()
            with session.current():
                session.to_device(source, INPUT_ELEMENTS)
                with session.timed():
                    graph.launch()
                session.to_host(target, OUTPUT_ELEMENTS)
                session.wait()
            if run >= 20:
                wall.append((perf_counter() - started) * 1e3)
                gpu.append(session.elapsed_ms())
        graph.close()
    session.close()
    return {"wall_ms": round(statistics.median(wall), 4), "gpu_ms": round(statistics.median(gpu), 4)}


def _torch_graph(binding: str) -> dict[str, Any]:
    """Kernels of PyTorch on our stream in place of an engine: run, then captured and launched again."""
    if version("torch") is None or "+cpu" in str(version("torch")):
        return {"skipped": "no PyTorch with CUDA is installed"}
    import torch

    if not torch.cuda.is_available():
        return {"skipped": "PyTorch finds no GPU"}
    session = _opener(binding, "copied")()
    with session.current():
        given = session.buffer(SIDE * SIDE, np.float32)
        made = session.buffer(SIDE * SIDE, np.float32)
        stream = torch.cuda.ExternalStream(session.stream)
        x, y = (torch.zeros(SIDE, SIDE, device="cuda") for _ in range(2))
        weight = torch.randn(SIDE, SIDE, device="cuda")
        torch.cuda.synchronize()
        library = session.driver

        def enqueue() -> None:
            with torch.cuda.stream(stream):
                torch.mm(x, weight, out=y)
                torch.relu_(y)

        def run(launch: Callable[[], None], value: float) -> tuple[Any, float]:
            given.host[...] = np.random.default_rng(int(value)).random(SIDE * SIDE, np.float32)
            library.call(
                "cuMemcpyHtoDAsync_v2",
                x.data_ptr(),
                given.host.ctypes.data,
                given.host.nbytes,
                session.stream,
            )
            with session.timed():
                launch()
            library.call(
                "cuMemcpyDtoHAsync_v2", made.host.ctypes.data, y.data_ptr(), made.host.nbytes, session.stream
            )
            session.wait()
            return made.host.copy(), session.elapsed_ms()

        plain = [run(enqueue, value) for value in (1, 2, 3)]
        graph = CudaGraph(session.driver, session.stream, enqueue)
        captured = [run(graph.launch, value) for value in (1, 2, 3)]
        same = [bool(np.array_equal(a, b)) for (a, _), (b, _) in zip(plain, captured, strict=True)]
        differs = not np.array_equal(captured[0][0], captured[1][0])
        graph.close()
    result = {
        "same_bytes": same,
        "gpu_ms_plain": [round(ms, 4) for _, ms in plain],
        "gpu_ms_graph": [round(ms, 4) for _, ms in captured],
        "failed": None if all(same) and differs else "the graph gives other results",
    }
    session.close()
    return result


def _memory_limit(mib: str) -> dict[str, Any]:
    """Whether CUDA starts under ``RLIMIT_DATA``, which limits the engine builder."""
    resource.setrlimit(resource.RLIMIT_DATA, (int(mib) << 20, resource.RLIM_INFINITY))
    session = CtypesSession(open_driver())
    with session.current():
        buffer = session.buffer(INPUT_ELEMENTS, np.float32)
        checks.fill(session, buffer, 1)
        session.wait()
    session.close()
    data = [line for line in Path("/proc/self/status").read_text("utf-8").splitlines() if "VmData" in line]
    return {"starts": True, "VmData_mib": int(data[0].split()[1]) >> 10}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "gpu": _gpu,
    "device_number": _device_number,
    "devices": _devices,
    "binding": _binding,
    "checks": _run_checks,
    "times": _times,
    "torch_graph": _torch_graph,
    "memory_limit": _memory_limit,
}

if __name__ == "__main__":
    main()
