"""Counts the instructions of a stage a frame, by ``perf stat`` or by valgrind's callgrind.

The count of a process with N frames is taken from that of one with 2 N; what is left are the instructions of
N frames, without those of starting Python and loading the inputs. Both are fresh processes with the same seed
of hashes, one thread, and no instructions beyond AVX2, so that the same libraries take the same way on most
machines. callgrind emulates a processor without AVX-512 and counts each instruction once; perf counts what
the processor retired in user mode. Counts of the two are not compared with each other.

Sources: https://valgrind.org/docs/manual/cl-manual.html, https://perfwiki.github.io/main/, for the variables
https://numpy.org/doc/stable/reference/simd/build-options.html and
https://github.com/opencv/opencv/wiki/CPU-optimizations-build-options.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.instructions.workload import STAGES, StageInputs
from benchmarks.measure.child_process import child_environment
from edgestill.errors import DeviceError

TIMEOUT_S = 600.0
#: Of the counted processes. numpy and OpenCV leave out what the machine does not have anyway.
FIXED = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENCV_CPU_DISABLE": "AVX512_SKX,AVX512_CNL,AVX512_CLX,AVX512_ICL",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-ERMS,-FSRM",
}
NO_TOOL = (
    "instructions cannot be counted: valgrind is not installed (apt install valgrind), and perf is not, or "
    "has no counters here"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A program that counts the user-mode instructions of a process.

    Attributes:
        name: ``perf`` or ``callgrind``.
        version: As the program says.
    """

    name: str
    version: str

    def count(self, command: Sequence[str]) -> int:
        """Instructions of a process from its start to its end.

        Raises:
            DeviceError: It ended with an error, or was not counted.
        """
        with TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            done = subprocess.run(
                [*_prefix(self.name, log), *command],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
                env=child_environment(**FIXED),
            )
            found = _parse(self.name, log.read_text("utf-8", "replace") if log.is_file() else "")
        if done.returncode or found is None:
            last = "".join(done.stderr.strip().splitlines()[-1:])
            raise DeviceError(
                f"{self.name} did not count {command[-2]}: exit code {done.returncode} {last}".rstrip(),
                hint=" ".join(command),
            )
        return found


@cache
def find_counter() -> Counter | None:
    """Perf where it has hardware counters, else callgrind; None where there is neither."""
    for name, program in (("perf", "perf"), ("callgrind", "valgrind")):
        if shutil.which(program):
            counter = Counter(name=name, version=_version(program))
            try:
                counter.count([sys.executable, "-c", "pass"])
            except (DeviceError, OSError, subprocess.SubprocessError):
                continue  # e.g. a virtual machine without performance counters, or no permission
            return counter
    return None


def count_stages(inputs: StageInputs, counter: Counter) -> dict[str, int]:
    """Instructions a frame of each stage.

    Args:
        inputs: What the stages run on; each frame is run once in the shorter process.
        counter: What counts.

    Raises:
        DeviceError: A process could not be counted.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "inputs.npz"
        inputs.save(path)
        return {stage: _per_frame(path, stage, len(inputs.frames), counter) for stage in STAGES}


def cpu_class() -> str:
    """The architecture, and the widest vectors that ``FIXED`` leaves, e.g. ``x86_64 avx2``."""
    machine = platform.machine()
    try:
        flags = re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text("ascii", "replace"), re.M)
    except OSError:
        flags = None
    known = flags[1].split() if flags else []
    return f"{machine} avx2" if "avx2" in known else machine


def _per_frame(path: Path, stage: str, frames: int, counter: Counter) -> int:
    once, twice = (
        counter.count(
            [sys.executable, "-m", "benchmarks.instructions.workload", str(path), stage, str(count)]
        )
        for count in (frames, 2 * frames)
    )
    return round((twice - once) / frames)


def _prefix(name: str, log: Path) -> list[str]:
    if name == "perf":
        return ["perf", "stat", "-x", ",", "-e", "instructions:u", "-o", str(log), "--"]
    return ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--log-file={log}", "--"]


def _parse(name: str, text: str) -> int | None:
    """The count in the output of a program; None if there is none."""
    pattern = r"^(\d+),[^,]*,instructions" if name == "perf" else r"Collected : (\d+)"
    found = re.search(pattern, text, re.M)
    return int(found[1]) if found else None


def _version(program: str) -> str:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip() or "unknown"
